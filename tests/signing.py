"""Keys, certificates and small signed folders for tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

DAY = timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """A key in two PEM files."""

    private: Path
    public: Path
    key: ec.EllipticCurvePrivateKey


def make_key(folder: Path, name: str = "key", curve: ec.EllipticCurve | None = None) -> KeyPair:
    """A new key, only its owner's."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    return KeyPair(write_private(folder / f"{name}.pem", key), write_public(folder / f"{name}.pub", key), key)


def write_private(path: Path, key: ec.EllipticCurvePrivateKey, password: str | None = None) -> Path:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    return path


def write_public(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def write_certificates(path: Path, *certificates: x509.Certificate) -> Path:
    path.write_bytes(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
    return path


def certify(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    name: str,
    issuer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    issuer_name: str,
    *,
    is_issuer: bool = False,
    usage: bool | None = True,
    extended: tuple[x509.ObjectIdentifier, ...] = (),
    first: timedelta = -DAY,
    last: timedelta = 30 * DAY,
) -> x509.Certificate:
    """A certificate for a key, valid from `first` to `last`, both from now. `usage`: whether it may sign.

    `extended`: its extended key usages; without any it has no such extension.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + first)
        .not_valid_after(now + last)
        .add_extension(x509.BasicConstraints(is_issuer, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    )
    if usage is not None:
        signs = usage and not is_issuer
        builder = builder.add_extension(
            x509.KeyUsage(
                signs, False, False, not signs and not is_issuer, False, is_issuer, False, False, False
            ),
            critical=True,
        )
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    return builder.sign(issuer, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


OCI = "application/vnd.oci.image"
MANIFEST_TYPE = f"{OCI}.manifest.v1+json"


def make_image(folder: Path, bundle: Path | None = None, compression: str = "") -> Path:
    """A small image in the OCI image layout: an index, a manifest, a configuration and its layers.

    These are two with a file each, or three, the second of which holds a bundle below /models.
    """
    layers = [make_layer({f"app/{name}": name.encode() * 2000}) for name in ("a", "b")]
    if bundle is not None:
        contents = {"app/manifest.json": b"[]"} | bundle_at("models", bundle)
        layers.insert(1, make_layer(contents, compression=compression))
    return write_image(folder, layers)


def write_image(
    folder: Path,
    *platforms: Sequence[bytes],
    command: Sequence[str] = (),
    manifest_type: str = MANIFEST_TYPE,
) -> Path:
    """An image in the OCI image layout, with the layers of each platform, which is started by a command."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(content: bytes, media_type: str) -> dict[str, object]:
        sha256 = hashlib.sha256(content).hexdigest()
        (blobs / sha256).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": len(content)}

    entries = []
    for architecture, contents in zip(("amd64", "arm64"), platforms, strict=False):
        layers = [store(content, f"{OCI}.layer.v1.tar") for content in contents]
        settings = {"architecture": architecture, "os": "linux", "config": {"Cmd": list(command)}}
        config = store(json.dumps(settings).encode(), f"{OCI}.config.v1+json")
        manifest = {"schemaVersion": 2, "config": config, "layers": layers}
        entries.append(store(json.dumps(manifest).encode(), manifest_type))
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def bundle_at(place: str, bundle: Path) -> dict[str, bytes]:
    """The files of a bundle, by their paths in an image."""
    return {f"{place}/{path.relative_to(bundle).as_posix()}": path.read_bytes() for path in files_of(bundle)}


def make_layer(
    files: Mapping[str, bytes], links: Mapping[str, str] | None = None, compression: str = ""
) -> bytes:
    """A layer with symbolic links, by their paths to their targets, and then files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for path, target in (links or {}).items():
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for path, content in files.items():
            file = tarfile.TarInfo(path)
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))
    return buffer.getvalue()


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
