//! What S3 stores answer, read by local names: Amazon, Google and others put the same elements into different namespaces, or none.

use portolan_core::model::time::Timestamp;
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};

/// What a store calls its reason; longer ones are none.
const CODE_CHARACTERS_MAX: usize = 64;

/// One page of names (ListObjectsV2).
#[derive(Debug, Deserialize)]
#[serde(rename = "ListBucketResult", rename_all = "PascalCase")]
pub(super) struct Page {
    #[serde(default)]
    pub(super) contents: Vec<Object>,
    is_truncated: bool,
    next_continuation_token: Option<String>,
}

/// One object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Object {
    pub(super) key: String,
    last_modified: String,
    pub(super) size: u64,
}

impl Page {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        element(text, &["ListBucketResult"], "a listing")
    }

    /// What the next page is asked by; `None`: this is the last one.
    pub(super) fn next(self) -> Result<Option<String>, String> {
        match (self.is_truncated, self.next_continuation_token) {
            (false, _) => Ok(None),
            (true, Some(token)) if !token.is_empty() => Ok(Some(token)),
            (true, _) => Err("its listing goes on, and does not say how".to_owned()),
        }
    }
}

impl Object {
    pub(super) fn written(&self) -> Result<Timestamp, String> {
        let at: Result<jiff::Timestamp, _> = self.last_modified.parse();
        at.map(|at| Timestamp(at.as_millisecond())).map_err(|_| "its listing has a time that is none".to_owned())
    }
}

#[derive(Debug, Deserialize)]
struct Versioning {
    #[serde(rename = "Status")]
    status: Option<String>,
}

/// Whether older versions are kept (GetBucketVersioning). Without a status they never were.
pub(super) fn is_versioned(text: &str) -> Result<bool, String> {
    // Some stores name it after the call.
    let versioning: Versioning = element(text, &["VersioningConfiguration", "GetBucketVersioningResponse"], "a state of versioning")?;
    Ok(versioning.status.as_deref() == Some("Enabled"))
}

#[derive(Debug, Deserialize)]
struct Encryption {
    #[serde(rename = "Rule", default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    #[serde(rename = "ApplyServerSideEncryptionByDefault")]
    default: Option<Default>,
}

#[derive(Debug, Deserialize)]
struct Default {
    #[serde(rename = "SSEAlgorithm")]
    algorithm: String,
}

/// What is encrypted how by default (GetBucketEncryption).
pub(super) fn default_algorithms(text: &str) -> Result<Vec<String>, String> {
    let encryption: Encryption = element(text, &["ServerSideEncryptionConfiguration"], "a rule of encryption")?;
    Ok(encryption.rules.into_iter().filter_map(|rule| rule.default).map(|default| default.algorithm).collect())
}

/// Why a store says no.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(rename = "Code", default)]
    code: String,
}

impl Refusal {
    pub(super) fn read(text: &str) -> Self {
        let read: Result<Self, _> = element(text, &["Error"], "an error");
        let is_word = |code: &str| code.len() <= CODE_CHARACTERS_MAX && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        read.ok().filter(|refusal| is_word(&refusal.code)).unwrap_or(Self { code: String::new() })
    }

    /// For people: its words, and what would help.
    pub(super) fn told(&self, status: StatusCode, head: &HeaderMap) -> String {
        let code = if self.code.is_empty() { status.as_u16().to_string() } else { self.code.clone() };
        let elsewhere =
            head.get("x-amz-bucket-region").and_then(|region| region.to_str().ok()).filter(|region| region.len() <= CODE_CHARACTERS_MAX);
        let help = match (self.code.as_str(), status.as_u16(), elsewhere) {
            ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _, Some(region))
            | ("", 301 | 400, Some(region)) => {
                format!("the bucket is in {region}: write that as `sign_region`")
            }
            ("PermanentRedirect" | "AuthorizationHeaderMalformed", ..) | ("", 301, _) => {
                "the bucket is in another region: write it as `sign_region`".to_owned()
            }
            ("NoSuchBucket", ..) => "there is no such bucket".to_owned(),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken", ..) => {
                "it does not take these credentials".to_owned()
            }
            ("RequestTimeTooSkewed", ..) => "its clock and this node's are too far apart".to_owned(),
            ("AccessDenied" | "", 403, _) => "these credentials may not do it".to_owned(),
            ("" | "NoSuchKey", 404, _) => "there is no such thing".to_owned(),
            _ => return code,
        };
        format!("{code}, {help}")
    }
}

/// An element of one of these names and nothing else.
fn element<T: DeserializeOwned>(text: &str, names: &[&str], what: &str) -> Result<T, String> {
    // The reader takes whatever the outermost element is called.
    let is_named = outermost(text).is_some_and(|found| names.contains(&found.as_str()));
    is_named.then(|| quick_xml::de::from_str(text).ok()).flatten().ok_or_else(|| format!("its answer is not {what}"))
}

/// The local name of the outermost element.
fn outermost(text: &str) -> Option<String> {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event().ok()? {
            quick_xml::events::Event::Start(start) | quick_xml::events::Event::Empty(start) => {
                return Some(start.local_name().as_ref().to_owned());
            }
            quick_xml::events::Event::Eof => return None,
            _ => {}
        }
    }
}

/// Feeds octets to everything here that reads what a store says. For fuzzing: it must return, whatever the octets are.
pub fn fuzz_stores(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(page) = Page::read(&text) {
        page.contents.iter().for_each(|object| drop(object.written()));
        let _ = page.next();
    }
    let _ = (is_versioned(&text), default_algorithms(&text), super::credentials(&text));
    let _ = Refusal::read(&text).told(StatusCode::FORBIDDEN, &HeaderMap::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>
<Contents><Key>a &amp; b</Key><LastModified>2026-11-22T03:03:20.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size></Contents>
<NextContinuationToken>t=1</NextContinuationToken>
<Contents><Key>c</Key><LastModified>2026-11-22T03:03:20Z</LastModified><Size>0</Size><Owner><ID>x</ID></Owner></Contents></ListBucketResult>"#;

    #[test]
    fn pages_are_read_whatever_their_namespace() {
        for text in [PAGE.to_owned(), PAGE.replace("http://s3.amazonaws.com/doc/2006-03-01/", "http://doc.s3.amazonaws.com/2006-03-01")] {
            let page = Page::read(&text).unwrap();
            let names: Vec<_> = page.contents.iter().map(|it| (it.key.as_str(), it.written().unwrap().0, it.size)).collect();
            assert_eq!(names, [("a & b", 1_795_316_600_000, 7), ("c", 1_795_316_600_000, 0)]);
            assert_eq!(page.next().unwrap().as_deref(), Some("t=1"));
        }
        let last = Page::read("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!((last.contents.len(), last.next()), (0, Ok(None)));
        assert!(Page::read(&PAGE.replace("<NextContinuationToken>t=1</NextContinuationToken>", "")).unwrap().next().is_err());
    }

    #[test]
    fn nonsense_is_no_answer() {
        let other = PAGE.replace("ListBucketResult", "Html");
        let bomb =
            r#"<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><ListBucketResult><IsTruncated>&c;</IsTruncated></ListBucketResult>"#;
        for text in
            ["", "hello", "<html>", "<ListBucketResult>", "{}", &other, bomb, &PAGE[..PAGE.len() - 20], "<ListBucketResult/>", "\u{0}<a/>"]
        {
            assert!(Page::read(text).is_err(), "{text}");
            assert!(is_versioned(text).is_err() && default_algorithms(text).is_err(), "{text}");
        }
        assert!(Page::read(&PAGE.replace("2026-11-22T03:03:20Z", "yesterday")).unwrap().contents[1].written().is_err());
        assert!(Page::read(&PAGE.replace("<Size>7</Size>", "<Size>-7</Size>")).is_err());
    }

    #[test]
    fn what_a_bucket_does_is_read() {
        assert_eq!(is_versioned("<VersioningConfiguration xmlns=\"x\"><Status>Enabled</Status></VersioningConfiguration>"), Ok(true));
        assert_eq!(is_versioned("<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"), Ok(false));
        assert_eq!(is_versioned("<VersioningConfiguration/>"), Ok(false));
        let rule = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>\
            </ApplyServerSideEncryptionByDefault><BucketKeyEnabled>false</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>";
        assert_eq!(default_algorithms(rule), Ok(vec!["AES256".to_owned()]));
    }

    #[test]
    fn refusals_are_told_with_what_helps() {
        let told = |status: u16, text: &str| {
            let mut head = HeaderMap::new();
            head.insert("x-amz-bucket-region", "eu-central-1".parse().unwrap());
            Refusal::read(text).told(StatusCode::from_u16(status).unwrap(), &head)
        };
        let error = |code: &str| format!("<Error><Code>{code}</Code><Message>Long.</Message><Resource>/b</Resource></Error>");
        assert_eq!(told(404, &error("NoSuchBucket")), "NoSuchBucket, there is no such bucket");
        assert_eq!(told(403, &error("SignatureDoesNotMatch")), "SignatureDoesNotMatch, it does not take these credentials");
        assert_eq!(told(301, &error("PermanentRedirect")), "PermanentRedirect, the bucket is in eu-central-1: write that as `sign_region`");
        assert_eq!(told(403, "<html>"), "403, these credentials may not do it");
        assert_eq!(told(503, &error("SlowDown")), "SlowDown");
        assert_eq!(told(500, &error(&"x".repeat(1000))), "500", "a code of a stranger is not shown at any length");
    }
}
