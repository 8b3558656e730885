"""What an image leaves out of the packages that it is made of: what no service ever reads."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator

from pipeline.package.container.entries import SITE, Member, rewritten

STDLIB = "usr/lib/python3.11"
# Modules of the standard library that install, test, draw or reach libraries which are not in the image.
MODULES = (
    r"_distutils_hack|config-3\.11.*|crypt\.py|curses|dbm|distutils|ensurepip|idlelib|lib2to3|msilib|nis\.py",
    r"pydoc\.py|pydoc_data|sqlite3|test|tkinter|turtle\.py|turtledemo|venv|LICENSE\.txt|unittest/test",
    r"lib-dynload/_(crypt|curses|curses_panel|dbm|sqlite3|test|xxtest|ctypes_test).*",
    r"lib-dynload/(nis|ossaudiodev|readline|audioop|spwd)\..*",
)
SYSTEM = re.compile(
    "|".join(
        (
            "usr/share/(man|info|locale|lintian|bug|binfmts|python3|apport|pixmaps)/.*",
            "usr/share/zoneinfo/(right|posix)/.*",
            r"usr/share/doc/(?![^/]+/copyright$)[^/]+/.*",
            "usr/share/(base-files|ca-certificates|gdb)/.*|usr/lib/binfmt.d/.*",
            "usr/(lib|share)/(x86_64-linux-gnu/(gconv|perl5?)|gcc|locale|i18n|dpkg|debhelper|systemd)/.*",
            "usr/sbin/.*",
            r"usr/bin/(?!python3\.11$).*",
            f"{STDLIB}/({'|'.join(MODULES)})(/.*)?",
            "(boot|dev|home|media|mnt|opt|proc|root|run|srv|sys)(/.*)?",
            "var/(backups|cache|local|mail|opt|spool)(/.*)?",
            "etc/(apt|cron.*|default|init.d|kernel|ld.so.conf.d|logrotate.d|profile.*|update-motd.d)(/.*)?",
            "etc/(motd|issue.*)",
            # Vector mathematics, NIS and debugging, which no program or library of the image is linked to.
            r"usr/lib/x86_64-linux-gnu/lib(mvec|nsl|nss_hesiod|BrokenLocale|thread_db)\.so.*",
            r"usr/lib/x86_64-linux-gnu/lib(memusage|pcprofile|c_malloc_debug)\.so.*",
        )
    )
)
SITES = re.compile(
    f"{SITE}/("
    + "|".join(
        (
            # Tests, benchmarks, and what only a type checker or a compiler reads.
            r"(.*/)?(tests|testing|conftest\.py|py\.typed|.*\.(pyi|pxd|pyx|h|c|cc|cpp|a|exe|js\.map))(/.*)?",
            r"numpy/_core/_(simd|.+_tests)\..*",
            "numpy/(f2py|distutils|doc|_pyinstaller|_core/include|random/_examples|random/lib)(/.*)?",
            r"onnxruntime/(transformers|quantization|tools|datasets|backend)(/.*)?",
            r"onnxruntime/(Privacy\.md|ThirdPartyNotices\.txt|capi/libonnxruntime\.so.*)",
            # What draws text and windows; the formats that Pillow reads need none of it.
            r"PIL/_imaging(ft|tk)\..*|pillow\.libs/lib(harfbuzz|freetype|png16|brotli(common|dec))-.*",
            r"grpc/_cython/_credentials/.*",  # the roots that clients trust; a service is none
            r"google/protobuf/(compiler|testdata)(/.*)?",
            r"(.*/)?[^/]+\.dist-info/(RECORD|WHEEL|entry_points\.txt|sboms/.*)",
        )
    )
    + ")"
)
_ELF64 = b"\x7fELF\x02\x01"


def prune(entries: Iterable[Member]) -> Iterator[Member]:
    """Yield what an image keeps, with programs and libraries stripped of what only debuggers read."""
    for entry in entries:
        if SYSTEM.fullmatch(entry.path) or SITES.fullmatch(entry.path) or entry.kind == "folder":
            continue
        if entry.kind == "file" and entry.content.startswith(_ELF64):
            yield rewritten(entry, strip_elf(entry.content))
        else:
            yield entry


def strip_elf(data: bytes) -> bytes:
    """Return a 64-bit program or library without its sections, of which the kernel and the loader read none.

    They read what the program headers name (System V ABI, chapter 5), which ends before the tables of symbols
    and debugging sections; what is behind is cut off. Where anything of this cannot be read, the file stays
    as it is.

    Args:
        data: The file, little-endian.
    """
    try:
        (headers,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        end = headers + size * count
        for index in range(count):
            start, _, _, length = struct.unpack_from("<QQQQ", data, headers + size * index + 8)
            end = max(end, start + length)
    except (struct.error, OverflowError):
        return data
    if not count or end > len(data):
        return data
    # No table of sections: e_shoff, e_shnum and e_shstrndx are zero.
    cut = bytearray(data[:end])
    cut[40:48] = bytes(8)
    cut[60:64] = bytes(4)
    return bytes(cut)
