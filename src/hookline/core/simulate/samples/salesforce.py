"""Salesforce outbound messages: SOAP, which only the organization's id tells from anybody's."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample, Wanted
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import unsigned

_HOST: Final = "https://example.my.salesforce.com/services/Soap"
_MESSAGE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <soapenv:Body>
  <notifications xmlns="http://soap.sforce.com/2005/09/outbound">
   <OrganizationId>${config:organization_id}</OrganizationId>
   <ActionId>04k5g000000XXXXAA0</ActionId>
   <SessionId xsi:nil="true"/>
   <EnterpriseUrl>@host@/c/62.0/${config:organization_id}</EnterpriseUrl>
   <PartnerUrl>@host@/u/62.0/${config:organization_id}</PartnerUrl>
@notifications@
  </notifications>
 </soapenv:Body>
</soapenv:Envelope>"""
_NOTIFICATION: Final = """   <Notification>
    <Id>04l5g00000${upper:5}AAA</Id>
    <sObject xsi:type="sf:@kind@" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
     <sf:Id>@prefix@5g00000${upper:4}EAA</sf:Id>
@fields@
    </sObject>
   </Notification>"""
_LEAD: Final = """     <sf:Company>Café &amp; Söhne</sf:Company>
     <sf:Email>zoe@example.com</sf:Email>
     <sf:FirstName>Zoë</sf:FirstName>
     <sf:LastName>Doe</sf:LastName>
     <sf:Status>Open - Not Contacted</sf:Status>"""
_OPPORTUNITY: Final = """     <sf:Amount>${int:500-90000}.0</sf:Amount>
     <sf:CloseDate>${day+864000}</sf:CloseDate>
     <sf:Name>Renewal</sf:Name>
     <sf:StageName>Closed Won</sf:StageName>"""


def _message(name: str, says: str, *objects: dict[str, str]) -> Sample:
    notifications = "\n".join(composed(_NOTIFICATION, **one) for one in objects)
    return Sample(
        name, says, composed(_MESSAGE, host=_HOST, notifications=notifications), style=None, wanted=Wanted("Ack>true</")
    )


_LEADS: Final = {"kind": "Lead", "prefix": "00Q", "fields": _LEAD}
_DEALS: Final = {"kind": "Opportunity", "prefix": "006", "fields": _OPPORTUNITY}

SALESFORCE: Final = Provider(
    "salesforce",
    (
        _message("Lead", "a lead was made", _LEADS),
        _message("Opportunity", "an opportunity was won", _DEALS),
        _message("several", "three notifications in one message", _LEADS, _LEADS, _DEALS),
    ),
    unsigned,
    {"organization_id": "00D5g000007${upper:4}EAW"},
    credential="organization_id",
    headers={"User-Agent": "SFDC-Callout/62.0", "SOAPAction": '""'},
    content_type="text/xml; charset=utf-8",
    forged=("organization_id",),
    signs_time=False,
)

PROVIDERS: Final = (SALESFORCE,)
