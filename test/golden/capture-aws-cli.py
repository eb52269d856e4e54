"""Captures what aws-cli v1 (botocore) really sends, as test/golden/aws-cli-requests.json.

Run by hand when a newer CLI is worth knowing: python3 test/golden/capture-aws-cli.py
Needs `aws` v1 and botocore; talks to a listener of its own on loopback only. The key is AWS's documentation example.
"""

import base64
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading

import botocore.session

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "session/token+with=signs"
captured = []


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        captured.append(
            {
                "method": self.command,
                "path": path,
                "query": query,
                "headers": headers,
                "body": base64.b64encode(body).decode(),
            }
        )
        self.send_response(400)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *args):
        pass


COMMANDS = [
    ["ec2", "describe-images", "--owners", "self", "amazon", "--filters", '[{"Name":"name","Values":["a b*","ü&=+%"]},{"Name":"tag:x","Values":[""]}]', "--max-items", "3"],
    ["ec2", "run-instances", "--image-id", "ami-0123456789abcdef0", "--count", "2:3", "--user-data", "#!/bin/sh\necho ü",
     "--block-device-mappings", '[{"DeviceName":"/dev/sda1","Ebs":{"VolumeSize":9,"Encrypted":true}},{"DeviceName":"/dev/sdb","NoDevice":""}]',
     "--tag-specifications", '[{"ResourceType":"instance","Tags":[{"Key":"a","Value":""},{"Key":"b","Value":"x y"}]}]'],
    ["ec2", "modify-image-attribute", "--image-id", "ami-0123456789abcdef0", "--launch-permission", "Add=[{UserId=123456789012}]"],
    ["ec2", "modify-image-attribute", "--image-id", "ami-0123456789abcdef0", "--description", ""],
    ["ec2", "copy-snapshot", "--source-region", "us-east-1", "--source-snapshot-id", "snap-0123456789abcdef0", "--region", "eu-west-1"],
    ["ec2", "create-tags", "--resources", "ami-0123456789abcdef0", "--tags", "Key=a,Value=", "Key=stack"],
    ["iam", "create-policy", "--policy-name", "p", "--policy-document", '{"Version":"2012-10-17","Statement":[]}', "--tags", "Key=k,Value=v"],
    ["iam", "list-users", "--path-prefix", "/a/"],
    ["sts", "get-caller-identity"],
    ["sts", "assume-role", "--role-arn", "arn:aws:iam::123456789012:role/r", "--role-session-name", "tour", "--duration-seconds", "900"],
    ["ssm", "get-parameters", "--names", "/ingot/tiny", "b", "--with-decryption"],
    ["cloudtrail", "lookup-events", "--lookup-attributes", "AttributeKey=EventName,AttributeValue=RunInstances", "--start-time", "2026-01-31T10:20:30Z"],
    ["ebs", "start-snapshot", "--volume-size", "8", "--tags", "Key=a,Value=b", "--description", "ü"],
    ["ebs", "put-snapshot-block", "--snapshot-id", "snap-0123456789abcdef0", "--block-index", "7", "--data-length", "524288",
     "--checksum", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "--checksum-algorithm", "SHA256", "--block-data", "BLOCK"],
    ["ebs", "list-snapshot-blocks", "--snapshot-id", "snap-0123456789abcdef0", "--next-token", "a/b+c= d~(é)*", "--max-results", "100"],
]


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }
    with tempfile.TemporaryDirectory() as directory:
        block = pathlib.Path(directory, "block")
        block.write_bytes(bytes(range(256)) * 4)
        for index, command in enumerate(COMMANDS):
            if index % 2:
                environment["AWS_SESSION_TOKEN"] = TOKEN
            else:
                environment.pop("AWS_SESSION_TOKEN", None)
            command = [str(block) if part == "BLOCK" else part for part in command]
            before = len(captured)
            ran = subprocess.run(["aws", "--endpoint-url", endpoint, *command], env=environment, capture_output=True, check=False)
            assert len(captured) == before + 1, (command, ran.stderr)
            captured[-1]["name"] = " ".join(command[:2])
    server.shutdown()

    session = botocore.session.get_session()
    session.set_credentials(KEY, SECRET, TOKEN)
    for service, operation, parameters in [
        ("sts", "get_caller_identity", {}),
        ("ec2", "describe_images", {"Owners": ["self"], "Filters": [{"Name": "name", "Values": ["a b*~"]}]}),
    ]:
        client = session.create_client(service, region_name="eu-central-1", endpoint_url=endpoint)
        url = client.generate_presigned_url(operation, Params=parameters, ExpiresIn=600, HttpMethod="GET")
        path, _, query = url.removeprefix(endpoint).partition("?")
        captured.append(
            {"name": f"presigned {service} {operation}", "method": "GET", "path": path, "query": query,
             "headers": {"host": endpoint.removeprefix("http://")}, "body": ""}
        )

    out = pathlib.Path(__file__).with_name("aws-cli-requests.json")
    out.write_text(json.dumps(captured, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(captured)} requests")


main()
