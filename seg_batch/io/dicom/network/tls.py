"""TLS by a private set of certificates, as clusters have: both ends prove themselves."""

from __future__ import annotations

import ssl


def server_context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """TLS for what listens: each peer proves itself with a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _private(context, certificate, key, authority)


def client_context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """TLS for what connects. A certificate of the private authority is the proof, whatever the host is called."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _private(context, certificate, key, authority)


def _private(context: ssl.SSLContext, certificate: str, key: str, authority: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context


def web_context(certificate: str, key: str, authority: str) -> ssl.SSLContext:
    """TLS for https: the private authority counts beside those of the machine; hosts are what they are called."""
    context = ssl.create_default_context()
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context
