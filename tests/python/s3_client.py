"""Uses the object store as any S3 client does, through boto3, and prints what it saw as one line of JSON."""

import hashlib
import io
import json
import os
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["OSS_ENDPOINT"]
BUCKET = os.environ["OSS_BUCKET"]
MEBIBYTE = 1024 * 1024


def client(key_id=os.environ["OSS_ACCESS_KEY_ID"], secret=os.environ["OSS_ACCESS_KEY_SECRET"], **options):
    config = Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **options)
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name=os.environ["OSS_REGION"],
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=config,
    )


def refusal(call):
    try:
        call()
    except ClientError as error:
        return [error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]]
    return None


def objects(s3, seen):
    """Small objects with each of the checksums that boto3 sends, as header and as trailer."""
    s3.put_object(Bucket=BUCKET, Key="plain", Body=b"hello from OSS\n", Metadata={"mode": "33188"})
    for algorithm in ["CRC32", "SHA1", "SHA256"]:
        s3.put_object(Bucket=BUCKET, Key=f"checked/{algorithm}", Body=b"abc", ChecksumAlgorithm=algorithm)
        # a body of unknown content makes boto3 send the checksum as a trailer of a chunked body
        stream = io.BufferedReader(io.BytesIO(b"abc"))
        s3.put_object(Bucket=BUCKET, Key=f"streamed/{algorithm}", Body=stream, ChecksumAlgorithm=algorithm)
        assert s3.get_object(Bucket=BUCKET, Key=f"streamed/{algorithm}")["Body"].read() == b"abc"
    got = s3.get_object(Bucket=BUCKET, Key="plain")
    seen["plain"] = got["Body"].read().decode()
    seen["metadata"] = got["Metadata"]
    seen["range"] = s3.get_object(Bucket=BUCKET, Key="plain", Range="bytes=6-9")["Body"].read().decode()
    wrong = {"Bucket": BUCKET, "Key": "wrong", "Body": b"abc", "ChecksumCRC32": "AAAAAA=="}
    seen["wrong checksum"] = refusal(lambda: s3.put_object(**wrong))


def large(s3, seen):
    """A file in parts, there and back and copied in parts."""
    data = os.urandom(MEBIBYTE) * 24
    transfer = TransferConfig(multipart_threshold=8 * MEBIBYTE, multipart_chunksize=8 * MEBIBYTE)
    s3.upload_fileobj(io.BytesIO(data), BUCKET, "large", Config=transfer)
    s3.copy({"Bucket": BUCKET, "Key": "large"}, BUCKET, "large copy", Config=transfer)
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, "large copy", back, Config=transfer)
    seen["large is intact"] = hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(data).digest()
    seen["parts"] = s3.head_object(Bucket=BUCKET, Key="large")["ETag"].strip('"').split("-")[1]
    part = s3.get_object(Bucket=BUCKET, Key="large", PartNumber=2)
    seen["part 2 is intact"] = part["Body"].read() == data[8 * MEBIBYTE : 16 * MEBIBYTE]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="open")["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key="open", UploadId=upload, PartNumber=1, Body=b"abc")
    seen["open uploads"] = [line["Key"] for line in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]]
    seen["open parts"] = [part["Size"] for part in s3.list_parts(Bucket=BUCKET, Key="open", UploadId=upload)["Parts"]]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="open", UploadId=upload)
    seen["uploads after abort"] = len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))


def listings(s3, seen):
    """Both versions of the listing, page by page, with names that XML can't hold plainly."""
    names = sorted(["list/a", "list/b c", "list/ä&<>", "list/tab\t", "list/dir/x", "list/dir/y"])
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"")
    for operation in ["list_objects", "list_objects_v2"]:
        pages = s3.get_paginator(operation).paginate(
            Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 2}
        )
        assert [line["Key"] for page in pages for line in page["Contents"]] == names, operation
        pages = s3.get_paginator(operation).paginate(
            Bucket=BUCKET, Prefix="list/", Delimiter="/", PaginationConfig={"PageSize": 2}
        )
        prefixes = [line["Prefix"] for page in pages for line in page.get("CommonPrefixes", [])]
        assert prefixes == ["list/dir/"], (operation, prefixes)
    deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": name} for name in names]})
    seen["deleted"] = len(deleted["Deleted"])
    seen["left"] = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/")["KeyCount"]


def refusals(seen):
    seen["unknown id"] = refusal(lambda: client(key_id="AKIDUNKNOWN").list_buckets())
    seen["wrong secret"] = refusal(lambda: client(secret="wrong").list_buckets())
    seen["missing bucket"] = refusal(lambda: client().list_objects_v2(Bucket="no-such-bucket"))
    seen["missing key"] = refusal(lambda: client().get_object(Bucket=BUCKET, Key="no such key"))
    seen["signature version 2"] = client(signature_version="s3").get_object(Bucket=BUCKET, Key="plain")["ContentLength"]
    url = client().generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "plain"})
    seen["presigned"] = urllib.request.urlopen(url).read().decode()


def main():
    seen = {}
    s3 = client()
    objects(s3, seen)
    large(s3, seen)
    listings(s3, seen)
    refusals(seen)
    print(json.dumps(seen))


main()
