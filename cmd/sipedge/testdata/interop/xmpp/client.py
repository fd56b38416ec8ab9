#!/usr/bin/python3
"""An XMPP user for plays: a client on Debian's slixmpp that obeys lines.

    client.py JID PASSWORD HOST:PORT CA.PEM

Commands, a line each, words as a shell reads them:

    message to=JID [body=] [type=chat] [id=] [subject=] [thread=] [lang=] [state=composing]
            [request] [markable] [received=ID] [displayed=ID]    "last" is the id of the
                                                                 last message with a body
    burst   to=JID count=N [body=PREFIX]     N messages "PREFIX 1" and so on, ids "PREFIX1"
    presence [to=JID] [type=] [show=] [status=] [priority=] [id=]
    ping to=JID, version to=JID, disco to=JID, prompt to=JID [for=ADDRESS]
    raw XML
    quit

Everything that comes is one line of JSON on standard output, keys in the order
below, those that are empty left out.
"""

import asyncio
import json
import logging
import shlex
import ssl
import sys

import slixmpp
from slixmpp.xmlstream import ET, tostring
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

CLIENT = "{jabber:client}"
STATES = "{http://jabber.org/protocol/chatstates}"
RECEIPTS = "{urn:xmpp:receipts}"
MARKERS = "{urn:xmpp:chat-markers:0}"
DELAY = "{urn:xmpp:delay}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def say(what, **fields):
    print(json.dumps({"event": what, **{k: v for k, v in fields.items() if v not in (None, "")}}, ensure_ascii=False), flush=True)


def text(xml, tag):
    found = xml.find(tag)
    return None if found is None else found.text or ""


def error(xml):
    found = xml.find(CLIENT + "error")
    if found is None:
        return {}
    names = [child.tag.removeprefix(STANZAS) for child in found if child.tag.startswith(STANZAS)]
    condition = next((name for name in names if name != "text"), "none")
    return {"error": condition + "/" + found.get("type", "none"), "text": text(found, STANZAS + "text")}


def identifier(xml, tag):
    found = xml.find(tag)
    return None if found is None else found.get("id", "")


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password)
        self.ca_certs = ca
        self.ssl_context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.ready = asyncio.Event()
        self.last = ""
        self.asked = set()  # asyncio itself keeps no task alive
        self.roster.auto_authorize = None  # the play answers
        self.roster.auto_subscribe = False
        self.whitespace_keepalive = False
        for plugin in "xep_0030", "xep_0092", "xep_0199":
            self.register_plugin(plugin)
        self.plugin["xep_0092"].software_name = "play"
        for feature in "http://jabber.org/protocol/chatstates", "urn:xmpp:receipts", "urn:xmpp:chat-markers:0":
            self.plugin["xep_0030"].add_feature(feature)
        self.register_plugin("xep_0115")
        for event, answer in {
            "session_start": self.started,
            "failed_auth": lambda _: say("refused"),
            "disconnected": lambda _: say("disconnected"),
        }.items():
            self.add_event_handler(event, answer)
        for name, answer in {"message": self.got_message, "presence": self.got_presence}.items():
            self.register_handler(Callback("play " + name, MatchXPath(CLIENT + name), answer))

    async def started(self, _):
        await self.get_roster()
        self.ready.set()
        say("ready", jid=self.boundjid.full)

    def got_message(self, stanza):
        xml = stanza.xml
        states = [c.tag.removeprefix(STATES) for c in xml if c.tag.startswith(STATES)]
        delay = xml.find(DELAY + "delay")
        bodies = {b.get(LANG, ""): b.text or "" for b in xml.findall(CLIENT + "body")}
        body = next(iter(bodies.values()), None)
        if body is not None:
            self.last = xml.get("id", "")
        say("message", **{"from": xml.get("from"), "type": xml.get("type"), "id": xml.get("id")}, body=body,
            subject=text(xml, CLIENT + "subject"), thread=text(xml, CLIENT + "thread"), lang=xml.get(LANG), state=states[0] if states else None,
            request="yes" if xml.find(RECEIPTS + "request") is not None else None,
            markable="yes" if xml.find(MARKERS + "markable") is not None else None,
            received=identifier(xml, RECEIPTS + "received"), displayed=identifier(xml, MARKERS + "displayed"),
            delay=None if delay is None else delay.get("stamp"), **error(xml))

    def got_presence(self, stanza):
        xml = stanza.xml
        say("presence", **{"from": xml.get("from"), "type": xml.get("type")}, show=text(xml, CLIENT + "show"),
            status=text(xml, CLIENT + "status"), priority=text(xml, CLIENT + "priority"), **error(xml))

    # Commands.

    def build(self, name, words, attributes):
        xml = ET.Element(CLIENT + name)
        for key in attributes:
            if key in words:
                xml.set(key, words[key])
        return xml

    def do_message(self, words):
        xml = self.build("message", words, ("to", "type", "id"))
        if "lang" in words:
            xml.set(LANG, words["lang"])
        for tag in "subject", "body", "thread":
            if tag in words:
                ET.SubElement(xml, CLIENT + tag).text = words[tag]
        if "state" in words:
            ET.SubElement(xml, STATES + words["state"])
        for word, tag in {"request": RECEIPTS, "markable": MARKERS, "received": RECEIPTS, "displayed": MARKERS}.items():
            if word in words:
                child = ET.SubElement(xml, tag + word)
                if words[word] != "yes":
                    child.set("id", self.last if words[word] == "last" else words[word])
        self.put(xml)

    def do_burst(self, words):
        body = words.get("body", "burst")
        for i in range(1, int(words["count"]) + 1):
            self.do_message({"type": "chat", "to": words["to"], "id": f"{body}{i}", "body": f"{body} {i}"})

    def do_presence(self, words):
        xml = self.build("presence", words, ("to", "type", "id"))
        for tag in "show", "status", "priority":
            if tag in words:
                ET.SubElement(xml, CLIENT + tag).text = words[tag]
        self.put(xml)

    async def ask(self, what, to, query, kind="get"):
        iq = self.make_iq(ito=to, itype=kind)
        iq.append(query)
        try:
            answer = await iq.send(timeout=20)
            say(what, **{"from": str(answer["from"])}, xml=ET.tostring(answer.xml, encoding="unicode"))
        except slixmpp.exceptions.IqError as e:
            say(what, **{"from": str(e.iq["from"])}, **error(e.iq.xml))
        except slixmpp.exceptions.IqTimeout:
            say(what, error="silence")

    def do_ping(self, words):
        return self.ask("ping", words["to"], ET.Element("{urn:xmpp:ping}ping"))

    def do_version(self, words):
        return self.ask("version", words["to"], ET.Element("{jabber:iq:version}query"))

    def do_disco(self, words):
        return self.ask("disco", words["to"], ET.Element("{http://jabber.org/protocol/disco#info}query"))

    def do_prompt(self, words):
        query = ET.Element("{jabber:iq:gateway}query")
        if "for" not in words:
            return self.ask("prompt", words["to"], query)
        ET.SubElement(query, "{jabber:iq:gateway}prompt").text = words["for"]
        return self.ask("prompt", words["to"], query, "set")

    def put(self, xml):
        self.send_raw(tostring(xml, xmlns="jabber:client"))

    async def obey(self):
        reader = asyncio.StreamReader(limit=1 << 22)
        await self.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode():
            await self.ready.wait()
            name, _, rest = line.strip().partition(" ")
            if name == "raw":
                self.send_raw(rest)
            elif name == "quit":
                break
            else:
                words = dict((w.partition("=")[::2] if "=" in w else (w, "yes")) for w in shlex.split(rest))
                answer = getattr(self, "do_" + name)(words)
                if answer is not None:
                    self.asked.add(task := asyncio.ensure_future(answer))
                    task.add_done_callback(self.asked.discard)
        await self.disconnect(wait=2)


def main():
    jid, password, address, ca = sys.argv[1:]
    host, _, port = address.rpartition(":")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    client = Client(jid, password, ca)
    client.connect(address=(host, int(port)))
    client.loop.run_until_complete(client.obey())


main()
