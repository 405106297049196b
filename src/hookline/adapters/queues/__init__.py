"""Queues: hints.

embedded                     in one process's memory
postgres                     over LISTEN and NOTIFY
broker                       what is the same for all brokers, over `lasting` connections
redis, nats, rabbitmq, kafka one broker each
packing, outgoing            messages, and the buffer of those that are to be sent
"""
