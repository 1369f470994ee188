"""A connector in Python: carries the deliveries of one channel account, and publishes what its contacts write.

    pip install pika
    AMQP_URL=amqp://guest:guest@localhost:5672/%2f python connector.py ORGANIZATION CHANNEL_ID

The contract is docs/asyncapi.json. The "provider" of this one is the terminal: deliveries are printed, and a line `ADDRESS TEXT` is a
message. A real one also keeps a ledger of what it has sent: a delivery may come again after a crash.
"""

import hashlib, json, os, queue, struct, sys, threading, time, uuid
from datetime import datetime, timezone

import pika

PREFIX, LANES = os.environ.get("BUS_PREFIX", "tributary."), int(os.environ.get("INBOUND_LANES", "16"))
ORGANIZATION, CHANNEL = sys.argv[1:]
LANE = f"{PREFIX}delivery.{CHANNEL}"
QUORUM = {"x-queue-type": "quorum", "x-single-active-consumer": True, "x-delivery-limit": 2_000_000_000}

parameters = pika.URLParameters(os.environ["AMQP_URL"])
consuming, publishing = pika.BlockingConnection(parameters), pika.BlockingConnection(parameters)
out = publishing.channel()
out.confirm_delivery()  # basic_publish raises unless the broker took the message and a lane holds it


def publish(kind, address, event_id, **data):
    now = datetime.now(timezone.utc).isoformat()
    digest = hashlib.sha256(f"{CHANNEL}\0{address}".encode()).digest()
    lane = struct.unpack(">Q", digest[:8])[0] % LANES  # the same contact, the same lane: that keeps the order
    event = {
        "specversion": "1.0", "id": str(event_id), "type": kind, "source": f"/channels/{CHANNEL}", "time": now,
        "subject": f"{CHANNEL}/{address}", "datacontenttype": "application/json", "orgid": ORGANIZATION,
        "dataschema": f"urn:tributary:schema:{kind}",
        "data": {"origin": {"channel_id": CHANNEL, "address": address, "occurred_at": now}, **data},
    }
    properties = pika.BasicProperties("application/cloudevents+json", delivery_mode=2, message_id=str(event_id))
    out.basic_publish(f"{PREFIX}lane", f"inbound.{lane}", json.dumps(event), properties, mandatory=True)


def received(line):
    address, text = line.split(maxsplit=1)
    provider_id = str(time.time_ns())
    message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{CHANNEL}/{provider_id}"))  # twice the same message, twice the same id
    publish("message.received.v1", address, message_id, message_id=message_id, provider_id=provider_id,
            contact={}, content={"type": "text", "text": text.strip()})


def deliver(delivery):
    data = delivery["data"]
    print(delivery["type"], data["to"], json.dumps(data.get("content"), ensure_ascii=False), flush=True)
    if delivery["type"] == "delivery.send.v1":
        publish("message.status.v1", data["to"], uuid.uuid5(uuid.NAMESPACE_OID, delivery["id"] + "/sent"),
                message_id=data["message_id"], status="sent", provider_ids=[delivery["id"]])


def own():
    """A channel to consume with, once we hold the lane's lock; it is gone with our connection."""
    while True:
        try:
            lock = consuming.channel()
            lock.queue_declare(f"{PREFIX}owner.delivery.{CHANNEL}", exclusive=True)
            break
        except pika.exceptions.ChannelClosedByBroker as refusal:
            if refusal.reply_code != 405:  # RESOURCE_LOCKED: another worker has the lane
                raise
            print("waiting: another worker owns the lane", file=sys.stderr, flush=True)
            consuming.sleep(1)
    try:
        lock.queue_declare(LANE, passive=True)
    except pika.exceptions.ChannelClosedByBroker:  # not there yet
        lock = consuming.channel()
        lock.queue_declare(LANE, durable=True, arguments=QUORUM)
        lock.queue_bind(LANE, f"{PREFIX}lane", f"delivery.{CHANNEL}")
    while lock.queue_declare(LANE, passive=True).method.consumer_count:
        consuming.sleep(0.1)  # what the last owner held must be back first
    return lock


lines = queue.Queue()
threading.Thread(target=lambda: [lines.put(line) for line in sys.stdin], daemon=True).start()
channel = own()
channel.basic_qos(prefetch_count=50)
for method, _, body in channel.consume(LANE, inactivity_timeout=0.2):
    if method:
        deliver(json.loads(body))
        channel.basic_ack(method.delivery_tag)  # only now: what follows from it is durable
    while not lines.empty():
        received(lines.get())
    publishing.process_data_events()
