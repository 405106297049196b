"""Shopify and WooCommerce: an HMAC in base64 over the body, the topic in a header."""

from __future__ import annotations

from typing import Final

from hookline.core.simulate.draft import Provider, Sample
from hookline.core.simulate.hmac_signing import HmacScheme, by_hmac
from hookline.core.simulate.json_style import form, php, rails
from hookline.core.simulate.template import composed
from hookline.core.simulate.token_signing import unsigned

_MONEY: Final = """{"shop_money": {"amount": "${decimal:@name@}", "currency_code": "USD"},
    "presentment_money": {"amount": "${decimal:@name@}", "currency_code": "USD"}}"""
_ADDRESS: Final = """{"first_name": "Steve", "address1": "123 Shipping Street", "phone": "555-555-SHIP",
    "city": "Shippington", "zip": "40003", "province": "Kentucky", "country": "United States", "last_name": "Shipper",
    "address2": null, "company": "Shipping & Söhne", "latitude": null, "longitude": null, "name": "Steve Shipper",
    "country_code": "US", "province_code": "KY"}"""
_CUSTOMER: Final = """{"id": "${int:1000000000000-9999999999999#customer}", "email": "jon@example.com",
    "created_at": "${at-90000}", "updated_at": "${at}", "first_name": "Jon", "last_name": "Snow", "state": "enabled",
    "note": null, "verified_email": true, "multipass_identifier": null, "tax_exempt": false, "phone": null,
    "currency": "USD", "tax_exemptions": [], "admin_graphql_api_id": "gid://shopify/Customer/${#customer}"}"""

_ORDER: Final = """{"id": "${int:1000000000000-9999999999999#order}",
    "admin_graphql_api_id": "gid://shopify/Order/${#order}", "app_id": 580111, "browser_ip": "198.51.100.24",
    "buyer_accepts_marketing": false, "cancel_reason": null, "cancelled_at": null, "cart_token": null,
    "checkout_id": "${int:1000000000000-9999999999999}", "checkout_token": "${hex:32}", "closed_at": null,
    "confirmation_number": "${upper:9}", "confirmed": true, "contact_email": "jon@example.com",
    "created_at": "${at-@age@}", "currency": "USD", "current_subtotal_price": "${decimal:price}",
    "current_subtotal_price_set": @price@, "current_total_discounts": "0.00",
    "current_total_price": "${decimal:price+shipping}", "current_total_tax": "0.00", "customer_locale": "en",
    "discount_codes": [], "email": "jon@example.com", "financial_status": "@paid@", "fulfillment_status": @sent@,
    "landing_site": "/?utm_source=mail&utm_medium=<b>", "location_id": null, "name": "#${int:1001-9999#number}",
    "note": "Bitte klingeln bei Müller", "note_attributes": [], "number": "${#number}", "order_number": "${#number}",
    "order_status_url": "https://johns-apparel.myshopify.com/548380009/orders/${hex:32}/authenticate?key=${hex:32}",
    "payment_gateway_names": ["shopify_payments"], "phone": null, "presentment_currency": "USD",
    "processed_at": "${at-@age@}", "reference": null, "referring_site": "https://www.example.com", "source_name": "web",
    "subtotal_price": "${decimal:price}", "tags": "", "tax_lines": [], "taxes_included": false, "test": false,
    "token": "${hex:32}", "total_discounts": "0.00", "total_line_items_price": "${decimal:price}",
    "total_outstanding": "0.00", "total_price": "${decimal:price+shipping}", "total_shipping_price_set": @shipping@,
    "total_tax": "0.00", "total_weight": 0, "updated_at": "${at}", "user_id": null,
    "billing_address": "@address", "customer": "@customer",
    "fulfillments": [], "line_items": [{"id": "${int:1000000000000-9999999999999#item}",
        "admin_graphql_api_id": "gid://shopify/LineItem/${#item}", "current_quantity": 1, "fulfillable_quantity": 1,
        "fulfillment_service": "manual", "fulfillment_status": @sent@, "gift_card": false, "grams": 567,
        "name": "IPod Nano - 8GB", "price": "${decimal:price}", "price_set": @price@, "product_exists": true,
        "product_id": 632910392, "properties": [], "quantity": 1, "requires_shipping": true, "sku": "IPOD2008PINK",
        "taxable": true, "title": "IPod Nano - 8GB", "total_discount": "0.00", "variant_id": 808950810,
        "variant_title": null, "vendor": "Apple", "tax_lines": [], "duties": [], "discount_allocations": []}],
    "payment_terms": null, "refunds": [], "shipping_address": "@address",
    "shipping_lines": [{"id": "${int:1000000000000-9999999999999}", "code": "Standard",
        "price": "${decimal:shipping}", "price_set": @shipping@, "source": "shopify", "title": "Standard",
        "tax_lines": [], "discount_allocations": []}]}"""


def _order(age: int, paid: str, sent: str) -> str:
    return composed(
        _ORDER,
        age=age,
        paid=paid,
        sent=sent,
        price=composed(_MONEY, name="price"),
        shipping=composed(_MONEY, name="shipping"),
    )


_SHOPIFY_CUSTOMER: Final = _CUSTOMER[:-1] + (
    ', "orders_count": 0, "total_spent": "0.00", "last_order_id": null, "tags": "", "last_order_name": null,'
    ' "default_address": "@address", "addresses": ["@address"]}'
)
_PRODUCT: Final = """{"admin_graphql_api_id": "gid://shopify/Product/${int:1000000000000-9999999999999#product}",
    "body_html": "<p>Très chic &amp; warm</p>", "created_at": "${at-90000}", "handle": "example-t-shirt",
    "id": "${#product}", "product_type": "Shirts", "published_at": "${at-90000}", "template_suffix": null,
    "title": "Example T-Shirt", "updated_at": "${at}", "vendor": "Acme", "status": "active",
    "published_scope": "web", "tags": "example, mens, t-shirt", "variants": [{
        "admin_graphql_api_id": "gid://shopify/ProductVariant/642667041472713922", "barcode": null,
        "compare_at_price": "24.99", "id": 642667041472713922, "inventory_policy": "deny", "position": 1,
        "price": "${decimal:price}", "product_id": "${#product}", "sku": "example-shirt-s", "taxable": true,
        "title": "Small", "inventory_item_id": null, "inventory_quantity": 75, "old_inventory_quantity": 75}],
    "options": [{"name": "Title", "id": 527050010214937811, "product_id": "${#product}", "position": 1,
        "values": ["Small", "Medium"]}], "images": [], "image": null, "media": [], "category": null}"""
_KNOWN: Final = {"price": "${int:500-90000}", "shipping": "${int:300-1500}"}


def _shopify(topic: str, says: str, data: str) -> Sample:
    return Sample(topic, says, data, _KNOWN, {"X-Shopify-Topic": topic})


SHOPIFY: Final = Provider(
    "shopify",
    (
        _shopify("orders/create", "an order was placed", _order(0, "paid", "null")),
        _shopify("orders/updated", "an order was changed", _order(7200, "paid", '"fulfilled"')),
        _shopify("customers/create", "a customer has an account now", _SHOPIFY_CUSTOMER),
        _shopify("products/update", "a product was changed", _PRODUCT),
    ),
    by_hmac(HmacScheme("X-Shopify-Hmac-Sha256", encoding="base64")),
    {"secret": "${hex:32}"},
    headers={
        "User-Agent": "Shopify-Captain-Hook",
        "Accept": "*/*",
        "X-Shopify-API-Version": "2025-10",
        "X-Shopify-Event-Id": "${uuid}",
        "X-Shopify-Shop-Domain": "johns-apparel.myshopify.com",
        "X-Shopify-Test": "false",
        "X-Shopify-Triggered-At": "${iso.9}",
        "X-Shopify-Webhook-Id": "${uuid}",
    },
    style=rails,
    fragments={"address": _ADDRESS, "customer": _CUSTOMER},
    signs_time=False,
)

_WOO_ADDRESS: Final = """{"first_name": "Zoë", "last_name": "Doe", "company": "", "address_1": "969 Market",
    "address_2": "",
    "city": "San Francisco", "state": "CA", "postcode": "94103", "country": "US"@more@}"""
_WOO_ORDER: Final = composed(
    """{"id": "${int:700-99999#order}", "parent_id": 0, "status": "@status@", "currency": "USD", "version": "10.2.1",
    "prices_include_tax": false, "date_created": "${day-@age@}T08:00:00", "date_modified": "${day}T09:00:00",
    "discount_total": "0.00", "discount_tax": "0.00", "shipping_total": "${decimal:shipping}", "shipping_tax": "0.00",
    "cart_tax": "0.00", "total": "${decimal:price+shipping}", "total_tax": "0.00", "customer_id": 12,
    "order_key": "wc_order_${base62:13}",
    "billing": @billing@, "shipping": @shipping@, "payment_method": "stripe", "payment_method_title": "Credit Card",
    "transaction_id": "pi_${base62:24}", "customer_ip_address": "198.51.100.24", "customer_user_agent": "Mozilla/5.0",
    "created_via": "checkout", "customer_note": "Bitte klingeln – merci 😀", "date_completed": null,
    "date_paid": "${day}T08:00:04", "cart_hash": "${hex:32}", "number": "${#order}", "meta_data": [],
    "line_items": [{"id": 315, "name": "Woo Album #1", "product_id": 93, "variation_id": 0, "quantity": 2,
        "tax_class": "", "subtotal": "${decimal:price}", "subtotal_tax": "0.00", "total": "${decimal:price}",
        "total_tax": "0.00", "taxes": [], "meta_data": [], "sku": "woo-album-1", "global_unique_id": "", "price": 3,
        "image": {"id": "16", "src": "https://shop.example.com/wp-content/uploads/album.jpg"}, "parent_name": null}],
    "tax_lines": [], "shipping_lines": [{"id": 317, "method_title": "Flat rate", "method_id": "flat_rate",
        "instance_id": "1", "total": "${decimal:shipping}", "total_tax": "0.00", "taxes": [], "meta_data": []}],
    "fee_lines": [], "coupon_lines": [], "refunds": [], "payment_url": "https://shop.example.com/checkout/order-pay/",
    "is_editable": false, "needs_payment": false, "needs_processing": true, "currency_symbol": "$",
    "_links": {"self": [{"href": "https://shop.example.com/wp-json/wc/v3/orders/${#order}"}],
        "collection": [{"href": "https://shop.example.com/wp-json/wc/v3/orders"}]}}""",
    billing=composed(_WOO_ADDRESS, more=', "email": "john.doe@example.com", "phone": "(555) 555-5555"'),
    shipping=composed(_WOO_ADDRESS, more=', "phone": ""'),
)
_WOO_PRODUCT: Final = """{"id": "${int:700-99999#product}", "name": "Ship Your Idea – Größe L",
    "slug": "ship-your-idea", "permalink": "https://shop.example.com/product/ship-your-idea/",
    "date_created": "${day-86400}T08:00:00", "date_modified": "${day}T09:00:00", "type": "simple", "status": "publish",
    "featured": false, "catalog_visibility": "visible", "description": "<p>Pellentesque habitant.</p>",
    "short_description": "", "sku": "ship-idea-l", "price": "${decimal:price}", "regular_price": "${decimal:price}",
    "sale_price": "", "on_sale": false, "purchasable": true, "total_sales": 7, "virtual": false, "downloadable": false,
    "downloads": [], "tax_status": "taxable", "tax_class": "", "manage_stock": true,
    "stock_quantity": "${int:0-500}", "backorders": "no", "weight": "0.5",
    "dimensions": {"length": "", "width": "", "height": ""}, "reviews_allowed": true, "average_rating": "4.33",
    "rating_count": 3, "parent_id": 0, "categories": [{"id": 9, "name": "Clothing", "slug": "clothing"}], "tags": [],
    "images": [{"id": 792, "src": "https://shop.example.com/wp-content/uploads/t_2_front.jpg", "name": "", "alt": ""}],
    "attributes": [], "variations": [], "grouped_products": [], "menu_order": 0, "stock_status": "instock",
    "_links": {"self": [{"href": "https://shop.example.com/wp-json/wc/v3/products/${#product}"}]}}"""


def _woo(topic: str, says: str, data: str) -> Sample:
    resource, _, event = topic.partition(".")
    headers = {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Resource": resource, "X-WC-Webhook-Event": event}
    return Sample(topic, says, data, _KNOWN, headers)


_NO_HEADERS: Final = dict.fromkeys(("X-WC-Webhook-Source", "X-WC-Webhook-ID", "X-WC-Webhook-Delivery-ID"), "")

WOOCOMMERCE: Final = Provider(
    "woocommerce",
    (
        _woo(
            "order.created",
            "an order was placed",
            composed(_WOO_ORDER, status="processing", age=0),
        ),
        _woo(
            "order.updated",
            "an order was changed",
            composed(_WOO_ORDER, status="completed", age=86400),
        ),
        _woo("product.updated", "a product was changed", _WOO_PRODUCT),
        Sample(
            "ping",
            "the webhook was saved: a question without a signature",
            '{"webhook_id": "3"}',
            headers=_NO_HEADERS,
            style=form,
            content_type="application/x-www-form-urlencoded",
            sign=unsigned,
            proven=False,
        ),
    ),
    by_hmac(HmacScheme("X-WC-Webhook-Signature", encoding="base64")),
    {"secret": "${base62:50}"},
    headers={
        "User-Agent": "WooCommerce/10.2.1 Hookshot (WordPress/6.8.3)",
        "X-WC-Webhook-Source": "https://shop.example.com/",
        "X-WC-Webhook-ID": "3",
        "X-WC-Webhook-Delivery-ID": "${hex:32}",
    },
    style=php,
    signs_time=False,
)

PROVIDERS: Final = (SHOPIFY, WOOCOMMERCE)
