"""Verifies attestations with the libraries of in-toto and securesystemslib: check.py PUBLIC_KEY ARTIFACT..."""

import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

public_key, *artifacts = sys.argv[1:]
crypto_key = load_pem_public_key(pathlib.Path(public_key).read_bytes())
scheme = "rsa-pkcs1v15-sha256" if isinstance(crypto_key, RSAPublicKey) else None
for artifact in artifacts:
    envelope = Envelope.from_dict(json.loads(pathlib.Path(artifact + ".intoto.jsonl").read_text()))
    # securesystemslib looks signatures up by the name of the key.
    keyid = next(iter(envelope.signatures))
    key = SSlibKey.from_crypto(crypto_key, keyid=keyid, scheme=scheme)
    envelope.verify([key], 1)
    assert envelope.payload_type == "application/vnd.in-toto+json", envelope.payload_type
    message = json_format.Parse(envelope.payload, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    digest = hashlib.sha256(pathlib.Path(artifact).read_bytes()).hexdigest()
    assert message.subject[0].digest["sha256"] == digest, (artifact, digest)
    assert artifact.endswith(message.subject[0].name), (artifact, message.subject[0].name)
    # A field that SLSA does not know is an error here.
    predicate = json_format.MessageToDict(message.predicate)
    provenance = json_format.ParseDict(predicate, provenance_pb2.Provenance())
    definition = provenance.build_definition
    assert definition.build_type and definition.external_parameters and provenance.run_details.builder.id
    assert provenance.run_details.metadata.started_on.seconds > 0
    for dependency in definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(dependency).validate()
        assert dependency.digest, dependency
print(f"{len(artifacts)} verified")
