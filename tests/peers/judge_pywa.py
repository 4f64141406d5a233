"""pywa against the simulator: what it sends is taken, what it receives it verifies and understands.

Usage: judge_pywa.py SIM_URL
"""

import http.server
import logging
import pathlib
import sys
import threading
import traceback
import uuid

from pywa import WhatsApp, types, utils
from pywa.errors import WhatsAppError
from pywa.types import templates

from judge import Judge, Simulator

judge = Judge("pywa")
sim = Simulator(sys.argv[1])
settings = sim.call("GET", "/settings")
number = settings["numbers"][0]
TRACK = f"peer:{uuid.uuid4()}"

wa = WhatsApp(
    phone_id=number["phone_number_id"],
    token=number["token"],
    waba_id=number["waba_id"],
    app_secret=settings["app_secret_whatsapp"],
    verify_token="peer-token",
    server=None,
)
# pywa knows one host only; the session behind it takes another.
wa.api._session.base_url = f"{sim.url}/v26.0"

got = {"messages": [], "buttons": [], "selections": [], "statuses": [], "raw": [], "refused": 0}
logging.getLogger("pywa").setLevel(logging.CRITICAL)  # it tells at length what it refuses; that is judged here


@wa.on_message
def on_message(_client, message):
    got["messages"].append(message)


@wa.on_callback_button
def on_button(_client, button):
    got["buttons"].append(button)


@wa.on_callback_selection
def on_selection(_client, selection):
    got["selections"].append(selection)


@wa.on_message_status
def on_status(_client, status):
    got["statuses"].append(status)


@wa.on_raw_update
def on_raw(_client, update):
    got["raw"].append(update)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Hands each callback to pywa, which checks the signature and parses it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        refused = wa.webhook_update_validator(body, self.headers.get(utils.HUB_SIG))
        got["refused"] += 1 if refused else 0
        text, status = refused or wa.webhook_update_handler(body)
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments):
        pass


def status_of(message_id, word):
    return next((own for own in got["statuses"] if own.id == message_id and own.status.value == word), None)


def failure_of(message_id):
    """The error of a failed status. A failed status has no `contacts` on the platform, and pywa's own
    parser needs them, so this one is read from what pywa verified."""
    for update in got["raw"]:
        value = update["entry"][0]["changes"][0]["value"]
        for status in value.get("statuses", []):
            if status["id"] == message_id and status["status"] == "failed":
                return status["errors"][0]
    return None


def received(message_id):
    return next((own for own in got["messages"] if own.id == message_id), None)


def sends(sanne, to):
    first = sim.say(sanne, type="text", text="Zoë: is het al € 5? 😀")[0]
    message = judge.eventually("a text callback is verified and parsed", lambda: received(first))
    if message:
        judge.holds("its words are the customer's", message.text == "Zoë: is het al € 5? 😀", message.text)
        judge.holds("its sender has a BSUID and a number", bool(message.from_user.bsuid) and message.from_user.wa_id == to[1:])

    sent = wa.send_message(to=to, text="Dag Zoë", reply_to_message_id=first, tracker=TRACK)
    for word in ("sent", "delivered"):
        status = judge.eventually(f"the status {word} comes", lambda word=word: status_of(sent.id, word))
        judge.holds(f"and carries the tracker ({word})", bool(status) and status.tracker == TRACK, status)
    sim.call("POST", f"/phones/{sanne}/open", {})
    judge.eventually("the status read comes", lambda: status_of(sent.id, "read"))
    judge.holds("the phone shows the answer", sim.bubble(sanne, sent.id)["reply_to"] == first)
    taken = sim.call("GET", f"/requests?kind=send&outbox_id={TRACK}")["items"]
    judge.holds("the oracle has one copy of it", len(taken) == 1 and taken[0]["message_id"] == sent.id, taken)

    judge.holds("a message is marked as read", bool(wa.mark_message_as_read(first)))
    judge.holds("typing is shown", bool(wa.indicate_typing(first)))
    reaction = wa.send_reaction(to=to, emoji="👍", message_id=first)
    judge.eventually("a reaction is sent", lambda: status_of(reaction.id, "sent"))
    judge.holds("and stands on the phone", sim.bubble(sanne, first)["reaction_of_business"] == "👍")
    wa.remove_reaction(to=to, message_id=first)
    judge.holds("and is taken off again", sim.bubble(sanne, first)["reaction_of_business"] is None)
    place = wa.send_location(to=to, latitude=52.0893, longitude=5.1101, name="Winkel", address="Stationsplein 1")
    judge.holds("a location arrives", sim.bubble(sanne, place.id)["place"]["name"] == "Winkel")
    card = types.Contact(
        name=types.Contact.Name(formatted_name="Karin Bos", first_name="Karin"),
        phones=[types.Contact.Phone(phone="+31600000099", type="CELL")],
    )
    judge.holds("a contact arrives", "Karin Bos" in sim.bubble(sanne, wa.send_contact(to=to, contact=card).id)["text"])


def choices(sanne, to):
    asked = wa.send_message(
        to=to,
        text="Wanneer?",
        header="Afspraak",
        footer="Kies een dag",
        buttons=[types.Button("Vandaag", callback_data="day:0"), types.Button("Morgen", callback_data="day:1")],
    )
    sim.say(sanne, type="choice", target=asked.id, choice="Morgen")
    judge.eventually("a tapped button is understood", lambda: [own for own in got["buttons"] if own.data == "day:1"])
    listed = wa.send_message(
        to=to,
        text="Welk uur?",
        buttons=types.SectionList(
            button_title="Tijden",
            sections=[
                types.Section(
                    title="Ochtend",
                    rows=[types.SectionRow(title="Tien uur", callback_data="at:10", description="Filiaal Centrum")],
                )
            ],
        ),
    )
    sim.say(sanne, type="choice", target=listed.id, choice="at:10")
    chosen = judge.eventually("a chosen row is understood", lambda: [own for own in got["selections"] if own.data == "at:10"])
    judge.holds("with its description", bool(chosen) and chosen[0].description == "Filiaal Centrum")
    link = wa.send_message(to=to, text="Kijk", buttons=types.URLButton(title="Naar de site", url="https://shop.example/"))
    judge.holds("a link button arrives", sim.bubble(sanne, link.id)["choices"][0]["kind"] == "link")


def files(sanne, to, folder):
    known = wa.get_templates()
    names = {template.name for template in known}
    judge.holds("templates are listed and parsed", {"order_update", "hello_world"} <= names, names)
    filled = wa.send_template(
        to=to,
        name="order_update",
        language=templates.TemplateLanguage.DUTCH,
        params=[templates.BodyText.params("Zoë", "48213")],
    )
    judge.holds("a template is filled in", sim.bubble(sanne, filled.id)["text"] == "Dag Zoë, je bestelling 48213 is onderweg.")
    reminder = wa.send_template(
        to=to,
        name="appointment_reminder",
        language=templates.TemplateLanguage.DUTCH,
        params=[
            templates.BodyText.params(name="Zoë", moment="vrijdag 10:00"),
            templates.QuickReplyButton.params(callback_data="change", index=0),
        ],
    )
    sim.say(sanne, type="choice", target=reminder.id, choice="change")
    judge.eventually("a template's button is understood", lambda: [own for own in got["buttons"] if own.data == "change"])

    picture = sim.say(sanne, type="image", text="zo ziet het eruit")[0]
    message = judge.eventually("a picture callback is parsed", lambda: received(picture))
    address = wa.get_media_url(message.image.id)
    content = wa.get_media_bytes(address.url)
    judge.holds("and its file is fetched", content.startswith(b"\x89PNG") and message.caption == "zo ziet het eruit")
    path = pathlib.Path(folder) / "back.png"
    path.write_bytes(content)
    back = wa.send_image(to=to, image=path, caption="deze?", mime_type="image/png")
    judge.holds("an uploaded picture arrives", sim.bubble(sanne, back.id)["files"][0]["mime"] == "image/png")
    judge.holds("a file is deleted", bool(wa.delete_media(message.image.id)))
    judge.refuses("and is gone then", lambda: wa.get_media_url(message.image.id), lambda error: error.code == 100)
    for kind in ("audio", "document", "location"):
        extra = {"latitude": 52.1, "longitude": 5.1} if kind == "location" else {}
        own = sim.say(sanne, type=kind, **extra)[0]
        parsed = judge.eventually(f"a callback of type {kind} is parsed", lambda own=own: received(own))
        judge.holds(f"as {kind}", bool(parsed) and getattr(parsed, kind) is not None)
    judge.holds("the number's own data are parsed", wa.get_business_phone_number().id == number["phone_number_id"])


def refusals(sanne, to):
    long_text = "x" * 4097
    judge.refuses("a text that is too long", lambda: wa.send_message(to=to, text=long_text), lambda error: error.code == 100)
    judge.refuses(
        "a reaction to nothing",
        lambda: wa.send_reaction(to=to, emoji="👍", message_id="wamid.none"),
        lambda error: isinstance(error, WhatsAppError) and error.code == 131009,
    )
    judge.refuses(
        "a template that is not there",
        lambda: wa.send_template(to=to, name="nothing", language=templates.TemplateLanguage.DUTCH, params=[]),
        lambda error: error.code == 132001,
    )
    hidden = sim.call("POST", "/customers", {"name": "Mila", "username": "mila.bakt", "hides_phone": True})
    own = sim.say(hidden["id"], type="text", text="Hoi")[0]
    message = judge.eventually("a user without a number is parsed", lambda: received(own))
    judge.holds("and has no number", bool(message) and message.from_user.wa_id is None)
    answer = message.reply("Dag Mila")
    judge.holds("and is answered by BSUID", sim.bubble(hidden["id"], answer.id)["text"] == "Dag Mila")
    sim.call("PUT", f"/phones/{sanne}/window", {"age_ms": 90_000_000})
    late = wa.send_message(to=to, text="te laat")
    failed = judge.eventually("outside the window it fails", lambda: failure_of(late.id))
    judge.holds("with 131047", bool(failed) and failed["code"] == 131047, failed)
    posting = {"platform": "whatsapp", "bodies": [{"object": "whatsapp_business_account", "entry": []}]}
    for how in ("wrong", "missing", "short", "sha1"):
        answers = sim.call("POST", "/callbacks", {**posting, "signed": how})["answers"]
        judge.holds(f"a signature that is {how} is refused", answers[0]["status"] in (401, 403), answers)


def main(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = sim.call("GET", "/callbacks/addresses")
    own = {**before, "whatsapp": f"http://127.0.0.1:{server.server_port}/"}
    sim.call("PUT", "/callbacks/addresses", own)
    try:
        customer = sim.call("POST", "/customers", {"name": "Zoë de Wit"})
        sanne, to = customer["id"], f"+{customer['phone']}"
        sends(sanne, to)
        choices(sanne, to)
        files(sanne, to, folder)
        judge.holds("no callback of the simulator was refused", got["refused"] == 0, got["refused"])
        refusals(sanne, to)
    except Exception as error:
        traceback.print_exc()
        judge.holds("the run came to its end", False, error)
    finally:
        sim.call("PUT", "/callbacks/addresses", before)
    judge.close()


if __name__ == "__main__":
    main(sys.argv[2] if len(sys.argv) > 2 else ".")
