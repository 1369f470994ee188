"""What an integrator writes with a client that openapi-python-client made: sends each content type, and reads all of it.

Arguments: the folder of the client, the API's address, a key, a conversation. Fails when anything is not as expected.
"""

import sys

folder, address, key, conversation = sys.argv[1:]
sys.path.insert(0, folder)

from tributary_client import AuthenticatedClient  # noqa: E402
from tributary_client import models as m  # noqa: E402
from tributary_client.api.messages import list_messages, send_message  # noqa: E402

MEDIA = m.SendableMediaByUrl(url="https://shop.example/a.png")
OPTION = m.SendableChoice(id="a", title="Yes")
URL_OPTION = m.SendableChoice(
    id="b", title="Open", action=m.SendableUrlChoiceAction(do="url", url="https://shop.example")
)
CONTENTS = [
    m.SendableTextContent(
        type_="text",
        text="hello there",
        entities=[
            m.SendablePlainEntity(kind=m.SendablePlainEntityKind.BOLD, offset=0, length=5),
            m.SendableLinkEntity(kind="link", offset=6, length=5, url="https://shop.example"),
        ],
    ),
    m.SendableImageContent(type_="image", media=MEDIA, caption=m.SendableText(text="so so")),
    m.SendableVideoContent(type_="video", media=MEDIA),
    m.SendableAudioContent(type_="audio", media=MEDIA),
    m.SendableVoiceContent(type_="voice", media=MEDIA),
    m.SendableFileContent(type_="file", media=MEDIA),
    m.SendableStickerContent(type_="sticker", media=MEDIA, emoji="🙂"),
    m.SendableLocationContent(type_="location", latitude=50.45, longitude=30.52),
    m.SendableContactCardContent(type_="contact_card", name="Ada", phones=["+1"]),
    m.SendableChoicesContent(
        type_="choices", text=m.SendableQuestion(text="Well?"), options=[OPTION, URL_OPTION]
    ),
    m.SendableCarouselContent(type_="carousel", cards=[m.SendableCard(title="One", media=MEDIA)]),
    m.SendableTemplateContent(type_="template", name="shipped"),
    m.SendableEmailContent(type_="email", text="hello", subject="Order", attachments=[MEDIA]),
]

client = AuthenticatedClient(base_url=address, token=key, raise_on_unexpected_status=True)
for content in CONTENTS:
    sent = send_message.sync(conversation, client=client, body=m.SendMessage(content=content))
    assert isinstance(sent, m.Message), sent
    assert type(sent.content).__name__ == type(content).__name__.removeprefix("Sendable"), sent.content

page = list_messages.sync(conversation, client=client, limit=200)
assert isinstance(page, m.PageMessage), page
by_type = {message.content.type_: message for message in page.items}
assert len(by_type) == 15, sorted(by_type)
assert by_type["choice_reply"].content.typed == "yes", by_type["choice_reply"]
assert isinstance(by_type["contact_card"].content, m.ContactCardContent)
assert isinstance(by_type["text"].content.entities[1], m.LinkEntity), by_type["text"]
[failed] = [message for message in page.items if message.degraded]
assert [change.code for change in failed.degraded] == [m.DegradationCode.TEXT_SPLIT, m.DegradationCode.REPLY_LOST]
assert failed.status == m.Status.FAILED and failed.failure.code == m.FailureCode.REJECTED, failed
assert isinstance(failed.author, m.ApiAuthor), failed.author
refused = send_message.sync(
    conversation, client=client, body=m.SendMessage(content=m.SendableTextContent(type_="text", text=" "))
)
assert isinstance(refused, m.Problem) and refused.code == m.ProblemCode.INVALID_BODY, refused
