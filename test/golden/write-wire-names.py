"""Writes what botocore's models say of the wire, as test/golden/wire-names.json: an independent witness for our reading of
the SDK's schemas (src/protocol/wire-names.test.ts).

Run by hand when botocore is newer: python3 test/golden/write-wire-names.py

Per service, `input` and `output` have every structure that can be reached, and its members: `Name` where the wire has what
`rules` says, `Name=wire` where not. A list's name is followed by that of its items, once per level: `tagSet/item`.
`fractions` are the input members that are not integers.
"""

import json
import pathlib

import botocore
import botocore.session

RULES = {
    "ec2": ("Cap(member)", "uncap(member), items in `item`"),
    "iam": ("member, items in `member`", "member, items in `member`"),
    "sts": ("member, items in `member`", "member, items in `member`"),
}


def cap(name):
    return name[0].upper() + name[1:]


def uncap(name):
    return name[0].lower() + name[1:]


def items(shape, ec2_input):
    if shape.type_name != "list":
        return ""
    name = "" if ec2_input else "/" + shape.member.serialization.get("name", "member")
    assert ec2_input or not shape.serialization.get("flattened"), shape.name
    return name + items(shape.member, ec2_input)


def walk(shape, name_of, seen, found):
    if shape.type_name == "structure":
        if shape.name in seen:
            return
        seen.add(shape.name)
        for name, member in shape.members.items():
            found[f"{shape.name}.{name}"] = name_of(name, member)
            walk(member, name_of, seen, found)
    elif shape.type_name == "list":
        walk(shape.member, name_of, seen, found)
    elif shape.type_name == "map":
        walk(shape.value, name_of, seen, found)


def fractions(shape, seen, found):
    if shape.name in seen:
        return
    seen.add(shape.name)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if member.type_name in ("float", "double"):
                found.add(f"{shape.name}.{name}")
            fractions(member, seen, found)
    elif shape.type_name == "list":
        fractions(shape.member, seen, found)
    elif shape.type_name == "map":
        fractions(shape.value, seen, found)


def by_shape(found, rule):
    shapes = {}
    for key, wire in sorted(found.items()):
        shape, name = key.split(".")
        shapes.setdefault(shape, []).append(name if wire == rule(name, wire) else f"{name}={wire}")
    return {shape: " ".join(members) for shape, members in shapes.items()}


def main():
    session = botocore.session.get_session()
    golden = {"botocore": botocore.__version__, "rules": RULES}
    for service in RULES:
        ec2 = service == "ec2"
        model = session.get_service_model(service)
        inputs, outputs, seen_in, seen_out = {}, {}, set(), set()

        def input_name(name, member):
            said = member.serialization
            if ec2:
                return said.get("queryName") or cap(said.get("name", name))
            return said.get("name", name) + items(member, False)

        def output_name(name, member):
            return member.serialization.get("name", name) + items(member, False)

        for name in model.operation_names:
            operation = model.operation_model(name)
            if operation.input_shape:
                walk(operation.input_shape, input_name, seen_in, inputs)
            if operation.output_shape:
                walk(operation.output_shape, output_name, seen_out, outputs)
        suffix = "/item" if ec2 else "/member"
        tail = lambda wire: suffix * wire.count("/")
        golden[service] = {
            "operations": len(model.operation_names),
            "input": by_shape(inputs, (lambda m, w: cap(m)) if ec2 else (lambda m, w: m + tail(w))),
            "output": by_shape(outputs, (lambda m, w: uncap(m) + tail(w)) if ec2 else (lambda m, w: m + tail(w))),
        }
    found = set()
    for service in ["ec2", "iam", "sts", "cloudtrail", "ssm", "ebs"]:
        model = session.get_service_model(service)
        seen = set()
        for name in model.operation_names:
            if model.operation_model(name).input_shape:
                fractions(model.operation_model(name).input_shape, seen, found)
    golden["fractions"] = sorted(found)
    out = pathlib.Path(__file__).with_name("wire-names.json")
    out.write_text(json.dumps(golden, indent=1) + "\n")
    print({s: (len(golden[s]["input"]), len(golden[s]["output"])) for s in RULES}, out.stat().st_size)


main()
