//! Buckets: of moto's server, and of stores that refuse, hang, or talk nonsense.

use std::{process::Command, time::Duration};

use portolan::backup::{
    LookError,
    s3::{Folder, Limits, Stores, credentials},
};
use portolan_core::recovery::backups::{Pattern, Proof, Seen};

use super::{
    moto::{Moto, PROGRAMS, SECRET},
    now,
    stub::Stub,
};
use crate::agent::postgres::hold_port;

/// Soon enough for a test that waits for it, long enough for a busy machine to answer.
const QUICK: Limits = Limits { request: Duration::from_secs(20), names: 2, pages: 3, octets: 64 * 1024 };

async fn look(limits: Limits, endpoint: &str, prefix: &str, complete: Option<&str>) -> Result<Seen, LookError> {
    let folder = Folder { bucket: "dr-eu", prefix, endpoint: Some(endpoint), sign_region: "eu-west-1" };
    let complete = complete.map(|pattern| Pattern(pattern.to_owned()));
    Stores::new(limits).unwrap().look(&folder, &credentials(SECRET).unwrap(), complete.as_ref(), now()).await
}

/// Why a store is not seen, with its address replaced; the secret and the signature are in no error.
async fn refusal(limits: Limits, stub: &Stub) -> String {
    let error = look(limits, &stub.endpoint(), "wal/", None).await.unwrap_err().to_string();
    assert!(!error.contains("hush") && !error.contains("Signature="), "{error}");
    error
}

#[tokio::test]
async fn a_folder_is_listed_page_by_page_with_what_the_store_proves() {
    let moto = Moto::start().await;
    let begun = now();
    moto.put("dr-eu", &[], "").await;
    let encrypted = [("x-amz-server-side-encryption", "AES256")];
    for name in ["wal/a.dump", "wal/b%20+%26.dump", "wal/c.dump.tmp", "wal/", "other/z.dump", "walnut.dump"] {
        moto.put(&format!("dr-eu/{name}"), &encrypted, "12345").await;
    }
    let seen = look(QUICK, &moto.endpoint(), "wal/", None).await.unwrap();
    let newest = seen.listing.newest.as_ref().unwrap();
    assert_eq!((newest.name.as_str(), seen.listing.n_complete, seen.listing.octets), ("b +&.dump", 2, 15), "{seen:?}");
    // The store counts whole seconds.
    assert!(seen.listing.is_whole && newest.at.0 >= begun.0 - 1000 && newest.at <= now(), "{seen:?}");
    assert_eq!((&seen.encryption, &seen.versioning), (&Proof::Proven, &Proof::Refuted));
    moto.version("dr-eu").await;
    assert_eq!(look(QUICK, &moto.endpoint(), "wal/", None).await.unwrap().versioning, Proof::Proven);
    let cut = look(Limits { pages: 1, ..QUICK }, &moto.endpoint(), "", None).await.unwrap();
    assert!(!cut.listing.is_whole, "{cut:?}");
    let none = look(QUICK, &moto.endpoint(), "nothing/", None).await.unwrap();
    assert_eq!((none.listing.n_complete, none.listing.newest), (0, None));
}

#[tokio::test]
async fn what_the_store_does_not_say_is_unknown() {
    let moto = Moto::start().await;
    let missing = look(QUICK, &moto.endpoint(), "wal/", None).await.unwrap_err().to_string();
    assert_eq!(missing, "127.0.0.1 refuses: NoSuchBucket, there is no such bucket");
    moto.put("dr-eu", &[], "").await;
    moto.put("dr-eu/wal/base_1/part.tar", &[], "12345").await;
    moto.put("dr-eu/wal/base_1_sentinel.json", &[("x-amz-server-side-encryption", "aws:kms")], "{}").await;
    let plain = look(QUICK, &moto.endpoint(), "wal/base_1/", None).await.unwrap();
    assert_eq!(plain.encryption, Proof::Unknown("the store says nothing of it at the newest one".to_owned()));
    let marked = look(QUICK, &moto.endpoint(), "wal/", Some("*_sentinel.json")).await.unwrap();
    assert_eq!(marked.listing.n_complete, 1);
    assert!(matches!(marked.encryption, Proof::Unknown(_)), "an end mark proves nothing of what it marks: {marked:?}");
    moto.encrypt("dr-eu").await;
    assert_eq!(look(QUICK, &moto.endpoint(), "wal/", Some("*_sentinel.json")).await.unwrap().encryption, Proof::Proven);
}

#[tokio::test]
async fn refusals_nonsense_and_silence_are_told() {
    let error = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
    let stub = Stub::saying("403 Forbidden", "", &error("SignatureDoesNotMatch")).await;
    assert_eq!(refusal(QUICK, &stub).await, "127.0.0.1 refuses: SignatureDoesNotMatch, it does not take these credentials");
    let elsewhere = "location: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu-central-1\r\n";
    let stub = Stub::saying("301 Moved", elsewhere, &error("PermanentRedirect")).await;
    let told = "127.0.0.1 refuses: PermanentRedirect, the bucket is in eu-central-1: write that as `sign_region`";
    assert_eq!(refusal(QUICK, &stub).await, told);
    for nonsense in ["<html><body>login</body></html>", "", "<ListBucketResult><IsTruncated>", "\u{1}\u{2}"] {
        let stub = Stub::saying("200 OK", "", nonsense).await;
        assert_eq!(refusal(QUICK, &stub).await, "ask 127.0.0.1: its answer is not a listing");
    }
    let endless = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    let stub = Stub::saying("200 OK", "", endless).await;
    assert_eq!(refusal(QUICK, &stub).await, "ask 127.0.0.1: its pages do not end");
    assert_eq!(stub.asked.lock().unwrap().len(), 2);
    let huge = format!("<ListBucketResult>{}</ListBucketResult>", " ".repeat(QUICK.octets));
    let stub = Stub::saying("200 OK", "", &huge).await;
    assert_eq!(refusal(QUICK, &stub).await, "ask 127.0.0.1: its answer is longer than 65536 octets");
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n<ListBucketResult>".to_owned();
    let stub = Stub::start(Some(cut)).await;
    assert!(refusal(QUICK, &stub).await.starts_with("ask 127.0.0.1: "));
    let stub = Stub::start(None).await;
    let told = refusal(Limits { request: Duration::from_millis(300), ..QUICK }, &stub).await;
    assert!(told.contains("timed out"), "{told}");
    assert_eq!(stub.asked.lock().unwrap().len(), 1, "it was asked, and said nothing");
    let (_held, port) = hold_port();
    let told = look(QUICK, &format!("http://127.0.0.1:{port}"), "", None).await.unwrap_err().to_string();
    assert!(told.starts_with("ask 127.0.0.1: ") && told.contains("refused"), "{told}");
    for endpoint in ["ftp://127.0.0.1/", "nonsense"] {
        let told = look(QUICK, endpoint, "", None).await.unwrap_err().to_string();
        assert!(told.starts_with(&format!("endpoint `{endpoint}`: ")), "{told}");
    }
}

/// What Amazon's own library computes of a URL, without its signature.
const SIGN: &str = "
import sys
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
method, url, timestamp = sys.argv[1:]
auth = S3SigV4QueryAuth(Credentials('AKIATEST', 'hush'), 's3', 'eu-west-1')
request = AWSRequest(method=method, url=url)
request.context['timestamp'] = timestamp
print(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
";

#[tokio::test]
async fn requests_are_signed_as_amazon_s_library_signs_them() {
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>w al/+&amp;\u{fc}/a.dump</Key>\
        <LastModified>2026-11-22T03:03:20Z</LastModified><Size>1</Size></Contents></ListBucketResult>";
    let stub = Stub::saying("200 OK", "", page).await;
    look(QUICK, &stub.endpoint(), "w al/+&\u{fc}/", None).await.unwrap();
    let asked = stub.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "a page, the newest object, versioning: {asked:#?}");
    for line in asked {
        let (method, target) = line.split_once(' ').unwrap();
        let (target, _) = target.rsplit_once(' ').unwrap();
        let (target, signature) = target.rsplit_once("&X-Amz-Signature=").unwrap();
        let (_, timestamp) = target.split_once("X-Amz-Date=").unwrap();
        let timestamp = &timestamp[..16];
        let url = format!("{}{target}", stub.endpoint());
        let ran = Command::new(format!("{PROGRAMS}/python"))
            .args(["-c", SIGN, method, &url, timestamp])
            .output()
            .expect("moto is installed: make setup");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), signature, "{line}");
    }
}
