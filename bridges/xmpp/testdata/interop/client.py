# An ordinary XMPP client, scripted: each line of its input is a stanza to send, each
# line of its output one that came. It answers receipts, pings and questions by itself.
#
#   client.py JID PASSWORD HOST PORT CA
import asyncio
import sys

import slixmpp
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher.base import MatcherBase


class Anything(MatcherBase):
    def match(self, stanza):
        return True


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca):
        super().__init__(jid, password)
        self.ca_certs = ca
        for plugin in "xep_0030 xep_0085 xep_0092 xep_0115 xep_0184 xep_0199".split():
            self.register_plugin(plugin)
        self["xep_0184"].auto_request = True
        self["xep_0184"].auto_ack = True
        self.auto_authorize = True
        self.auto_subscribe = False
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("failed_auth", lambda _: self.say("failed"))
        self.register_handler(Callback("anything", Anything(None), self.came))

    def say(self, line):
        print(line.replace("\n", " "), flush=True)

    def came(self, stanza):
        self.say(str(stanza))

    async def begin(self, _):
        await self.get_roster()
        self.send_presence()
        self.say("ready")
        loop = asyncio.get_event_loop()
        while True:
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line:
                self.disconnect()
                return
            if line.startswith("say "):  # by the library, with all that it adds
                _, to, text = line.rstrip("\n").split(" ", 2)
                self.send_message(mto=to, mbody=text, mtype="chat")
            else:
                self.send_raw(line.rstrip("\n"))


jid, password, host, port, ca = sys.argv[1:]
client = Client(jid, password, ca)
client.connect((host, int(port)))
client.process(forever=False)
