"""Contract suites, a told clock, faults, and a receiver that misbehaves on cue.

    clock                                           a clock that is told what to say
    receiver, answers, wire, certificates           a webhook receiver for tests, and what it answers
    mailbox                                         a sender that is not HTTP
    coroutine_sender                                senders and coroutines, both ways
    faults                                          a store that fails at call n, before or after its commit
    failpoints                                      places at which the real process kills itself, for crash tests
    samples                                         events and endpoints to test with
    store_contract, queue_contract, sender_contract what every adapter promises
    queue_failures                                  what every queue over a broker promises when that fails

Only these suites need pytest; everything else can be used by any program.
"""
