# Reads XML documents, one a line as a JSON string of its octets in latin-1, with
# expat or libxml2, and prints each as a JSON tree, or null if it is refused.
import json
import sys

if sys.argv[1] == "expat":
    from xml.parsers import expat
else:
    from lxml import etree

SEPARATOR = "\x1f"  # is in no XML


def split(name):
    space, _, local = name.rpartition(SEPARATOR)
    return space, local


def by_expat(octets):
    root = {"children": []}
    open_ = [root]

    def start(name, attrs):
        space, local = split(name)
        e = {"space": space, "local": local, "text": "", "children": [], "attrs": [split(k) + (v,) for k, v in attrs.items()]}
        open_[-1]["children"].append(e)
        open_.append(e)

    def text(data):
        open_[-1]["text"] += data

    p = expat.ParserCreate("utf-8", SEPARATOR)
    p.StartElementHandler = start
    p.EndElementHandler = lambda name: open_.pop()
    p.CharacterDataHandler = text
    try:
        p.Parse(octets, True)
    except expat.ExpatError:
        return None
    return root["children"][0]


def by_libxml2(octets):
    def tree(e):
        q = etree.QName(e)
        text = (e.text or "") + "".join(c.tail or "" for c in e)
        attrs = [(etree.QName(k).namespace or "", etree.QName(k).localname, v) for k, v in e.attrib.items()]
        return {"space": q.namespace or "", "local": q.localname, "text": text, "children": [tree(c) for c in e], "attrs": attrs}

    try:
        return tree(etree.fromstring(octets, etree.XMLParser(resolve_entities=False, no_network=True, recover=False)))
    except (etree.XMLSyntaxError, ValueError):
        return None


for line in sys.stdin:
    octets = json.loads(line).encode("latin-1")
    print(json.dumps(by_expat(octets) if sys.argv[1] == "expat" else by_libxml2(octets)))
