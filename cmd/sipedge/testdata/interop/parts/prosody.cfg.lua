-- Prosody as the server of $XMPP_DOMAIN, in the folder $XMPP_DIR. It resolves with
-- the play's name server alone: libunbound leaves 127.0.0.0/8 out unless it is told
-- otherwise, and should remember nothing for longer than a play would wait.
run_as_root = true
daemonize = false
pidfile = "$XMPP_DIR/prosody.pid"
data_path = "$XMPP_DIR/data"
certificates = "$XMPP_DIR"
plugin_paths = { "$XMPP_DIR/modules" }
log = { { levels = { min = "$XMPP_LOG" }, to = "console" } }
unbound = {
	resolvconf = false;
	hoststxt = false;
	forward = "$XMPP_DNS";
	options = {
		["do-not-query-localhost:"] = "no";
		["cache-max-ttl:"] = "1";
		["cache-max-negative-ttl:"] = "1";
	};
}
interfaces = { "127.0.0.1" }
use_ipv6 = false
s2s_ports = { $XMPP_S2S }
c2s_ports = { $XMPP_C2S }
c2s_direct_tls_ports = {}
s2s_direct_tls_ports = {}
component_ports = { $XMPP_COMPONENT }
modules_enabled = { "posix", "disco", "roster", "saslauth", "tls", "ping", "version", $XMPP_MODULES }
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = true
s2s_require_encryption = true
s2s_secure_auth = $XMPP_STRICT

VirtualHost "$XMPP_DOMAIN"
	ssl = {
		certificate = "$XMPP_DIR/server.pem";
		key = "$XMPP_DIR/server.key";
		cafile = "$XMPP_DIR/ca.pem";
		capath = "$XMPP_DIR/none";
	}

-- Whoever knows the secret speaks for it (XEP-0114).
Component "echo.$XMPP_DOMAIN"
	component_secret = "secret"
	ssl = {
		certificate = "$XMPP_DIR/server.pem";
		key = "$XMPP_DIR/server.key";
		cafile = "$XMPP_DIR/ca.pem";
		capath = "$XMPP_DIR/none";
	}
