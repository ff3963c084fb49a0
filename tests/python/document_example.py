"""The product document's OSS example, and what a user does next, with a hibernation, which NAS storage refuses.

Prints what it saw as one line of JSON.

`CREATE` names the API to use: `create`, or `beta_create` on SDKs that still have it.
"""

import json
import os

import boto3
from botocore.client import Config
from e2b.exceptions import SandboxException
from e2b_code_interpreter import Sandbox

BUCKET = os.environ["OSS_BUCKET"]
bucket = boto3.client(
    "s3",
    endpoint_url=os.environ["OSS_ENDPOINT"],
    region_name=os.environ["OSS_REGION"],
    aws_access_key_id=os.environ["OSS_ACCESS_KEY_ID"],
    aws_secret_access_key=os.environ["OSS_ACCESS_KEY_SECRET"],
    config=Config(s3={"addressing_style": "path"}),
)
bucket.put_object(Bucket=BUCKET, Key="data-subPath/hello.txt", Body=b"hello from OSS\n")

if os.environ["CREATE"] == "create":
    # as the document has it
    sbx = Sandbox.create(template="code-interpreter-inject-test", timeout=300, metadata={
        "e2b.agents.kruise.io/csi-volume-name": "oss-pv-sandbox-system", # The name of the OSS PersistentVolume.
        "e2b.agents.kruise.io/csi-mount-point": "/data-oss",
        "e2b.agents.kruise.io/csi-subpath": "data-subPath" # A relative path that specifies a subdirectory within the OSS bucket.
    })
else:
    sbx = Sandbox.beta_create(template="code-interpreter-inject-test", timeout=300, metadata={
        "e2b.agents.kruise.io/csi-volume-config": '[{"pvName":"oss-pv-sandbox-system","mountPath":"/data-oss","subPath":"data-subPath"}]'
    })

seen = {}
seen["cat"] = sbx.commands.run("cat /data-oss/hello.txt").stdout
seen["read"] = sbx.files.read("/data-oss/hello.txt")
sbx.commands.run("echo written by a command > /data-oss/command.txt")
sbx.files.write("/data-oss/folder/file.txt", "written by the file API")
for name, key in [("command", "command.txt"), ("file", "folder/file.txt")]:
    seen[name] = bucket.get_object(Bucket=BUCKET, Key=f"data-subPath/{key}")["Body"].read().decode()
seen["listed"] = sorted(entry.name for entry in sbx.files.list("/data-oss"))
metadata = sbx.get_info().metadata
seen["csi keys in metadata"] = [key for key in metadata if "csi" in key]
sbx.beta_pause()
seen["paused"] = [sbx.get_info().state.value, sbx.is_running()]
sbx.connect()
seen["read after the wake-up"] = sbx.files.read("/data-oss/hello.txt")
nas = Sandbox.create(template="code-interpreter-inject-test", timeout=300, metadata={
    "e2b.agents.kruise.io/csi-volume-name": "nas-pv-sandbox-system",
    "e2b.agents.kruise.io/csi-mount-point": "/data-nas",
})
try:
    nas.beta_pause()
except SandboxException as error:
    seen["pause with NAS"] = str(error)
seen["NAS still running"] = nas.is_running()
nas.kill()
seen["running"] = sbx.is_running()
seen["killed"] = sbx.kill()
seen["running after kill"] = sbx.is_running()
seen["still in the bucket"] = bucket.get_object(Bucket=BUCKET, Key="data-subPath/hello.txt")["Body"].read().decode()
print(json.dumps(seen))
