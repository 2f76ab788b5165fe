//! A folder of a bucket in an S3-compatible store: listed page by page, and what the store says of encryption and versioning.
//!
//! Requests are signed by rusty-s3 and sent by reqwest. They are signed in the query, as presigned URLs are, so no URL is ever told. Encryption is
//! what the store says of the newest complete object (`x-amz-server-side-encryption`); where that is only an end mark, also of what it does by
//! default. What the credentials may not ask is unknown, and the listing is told all the same.
//!
//! Source: Amazon S3 API, ListObjectsV2, HeadObject, GetBucketVersioning, GetBucketEncryption; SSE-S3 and SSE-KMS encrypt with AES-256.

mod answer;
mod credentials;

use std::time::Duration;

use portolan_core::{
    model::{causes::chain, time::Timestamp},
    recovery::backups::{Backup, Listing, Pattern, Proof, Seen},
};
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::{LookError, web};
pub use answer::fuzz_stores;
use answer::{Page, Refusal};
pub use credentials::credentials;

/// How long a signature holds: as far as clocks may be apart (Amazon's RequestTimeTooSkewed).
const SIGNED_FOR: Duration = Duration::from_secs(900);

/// What the newest object says when it was encrypted with AES-256 (PutObject, `x-amz-server-side-encryption`).
const AES_256: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];

/// The bounds of a look.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For one request and its answer.
    pub request: Duration,
    /// Names of one page: a thousand is the most that stores give.
    pub names: usize,
    /// Pages.
    pub pages: usize,
    /// Of one answer: a page of the longest names has about four million.
    pub octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(30), names: 1000, pages: 100, octets: 8 * 1024 * 1024 }
    }
}

/// A folder of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// What all names begin with; empty: all that are there.
    pub prefix: &'a str,
    /// Where the service answers; `None`: Amazon's.
    pub endpoint: Option<&'a str>,
    /// What requests are signed for.
    pub sign_region: &'a str,
}

/// Who asks stores. Cheap to share: connections are kept for the next page.
#[derive(Clone, Debug)]
pub struct Stores {
    http: Client,
    limits: Limits,
}

impl Stores {
    /// With these bounds.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(limits: Limits) -> Result<Self, LookError> {
        Ok(Self { http: web::client(limits.request)?, limits })
    }

    /// Looks once. `complete`: as in [`Listing::add`].
    ///
    /// # Errors
    /// Why the folder cannot be listed.
    pub async fn look(
        &self,
        folder: &Folder<'_>,
        credentials: &Credentials,
        complete: Option<&Pattern>,
        now: Timestamp,
    ) -> Result<Seen, LookError> {
        let time = jiff::Timestamp::from_millisecond(now.0).map_err(|error| LookError::Endpoint(format!("this node's clock: {error}")))?;
        let bucket = folder.bucket()?;
        let store = bucket.base_url().host_str().unwrap_or(folder.bucket).to_owned();
        let asker = Asker { stores: self, bucket: &bucket, credentials, time, store };
        let listing = asker.list(folder.prefix, complete, now).await?;
        let encryption = match &listing.newest {
            Some(newest) => asker.encryption(folder.prefix, newest, complete.is_some()).await,
            None => Proof::Unknown("no complete backup is there to be asked for".to_owned()),
        };
        let versioning = asker.versioning().await;
        Ok(Seen { at: now, listing, encryption, versioning })
    }
}

impl Folder<'_> {
    fn bucket(&self) -> Result<Bucket, LookError> {
        let amazon = format!("https://s3.{}.amazonaws.com", self.sign_region);
        let endpoint = self.endpoint.unwrap_or(&amazon);
        let wrong = |why: String| LookError::Endpoint(format!("endpoint `{endpoint}`: {why}"));
        // Names of hosts have no such buckets, and other stores often have no name per bucket.
        let is_host = self.bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let style = if self.endpoint.is_none() && is_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let url = endpoint.parse().map_err(|error| wrong(format!("{error}")))?;
        Bucket::new(url, style, self.bucket.to_owned(), self.sign_region.to_owned()).map_err(|error| wrong(error.to_string()))
    }
}

/// Asks one bucket.
struct Asker<'a> {
    stores: &'a Stores,
    bucket: &'a Bucket,
    credentials: &'a Credentials,
    time: jiff::Timestamp,
    /// Its host.
    store: String,
}

impl Asker<'_> {
    async fn list(&self, prefix: &str, complete: Option<&Pattern>, now: Timestamp) -> Result<Listing, LookError> {
        let mut listing = Listing::default();
        let mut token: Option<String> = None;
        for _ in 0..self.stores.limits.pages {
            // Without a name the bucket itself is asked.
            let mut action = self.bucket.get_object(Some(self.credentials), "");
            action.query_mut().insert("list-type", "2");
            action.query_mut().insert("max-keys", self.stores.limits.names.to_string());
            if !prefix.is_empty() {
                action.query_mut().insert("prefix", prefix);
            }
            if let Some(token) = &token {
                action.query_mut().insert("continuation-token", token.as_str());
            }
            let (_, text) = self.ask(Method::GET, action).await?;
            let page = Page::read(&text).map_err(|problem| self.unanswered(problem))?;
            for object in &page.contents {
                let at = object.written().map_err(|problem| self.unanswered(problem))?;
                // Its own name is what some tools write to have the folder.
                let name = object.key.strip_prefix(prefix).unwrap_or(&object.key);
                if !name.is_empty() && !name.ends_with('/') {
                    listing.add(name, at, object.size, complete, now);
                }
            }
            match page.next() {
                Ok(None) => return Ok(listing),
                // The same page again would never end.
                Ok(next) if next == token => return Err(self.unanswered("its pages do not end".to_owned())),
                Ok(next) => token = next,
                Err(problem) => return Err(self.unanswered(problem)),
            }
        }
        listing.is_whole = false;
        Ok(listing)
    }

    /// Whether the newest backup is encrypted with AES-256. `is_mark`: its name is only the end mark of what was written before it.
    async fn encryption(&self, prefix: &str, newest: &Backup, is_mark: bool) -> Proof {
        let key = format!("{prefix}{}", newest.name);
        // A URL cannot say such a name.
        if key.split('/').any(|part| matches!(part, "." | "..")) {
            return Proof::Unknown("the newest one has a name that cannot be asked for".to_owned());
        }
        let algorithm = match self.ask(Method::HEAD, self.bucket.head_object(Some(self.credentials), &key)).await {
            Ok((head, _)) => head.get("x-amz-server-side-encryption").and_then(|value| value.to_str().ok()).map(str::to_owned),
            Err(error) => return Proof::Unknown(error.to_string()),
        };
        let Some(algorithm) = algorithm else {
            return Proof::Unknown("the store says nothing of it at the newest one".to_owned());
        };
        if !AES_256.contains(&algorithm.as_str()) {
            return Proof::Unknown("the store names another algorithm at the newest one".to_owned());
        }
        if !is_mark {
            return Proof::Proven;
        }
        let mut action = self.bucket.get_object(Some(self.credentials), "");
        action.query_mut().insert("encryption", "");
        match self.ask(Method::GET, action).await.map(|(_, text)| answer::default_algorithms(&text)) {
            Ok(Ok(all)) if !all.is_empty() && all.iter().all(|it| AES_256.contains(&it.as_str())) => Proof::Proven,
            Ok(Ok(_)) => Proof::Unknown("the end mark is encrypted, and the store does not say that all is by default".to_owned()),
            Ok(Err(problem)) => Proof::Unknown(problem),
            Err(error) => Proof::Unknown(error.to_string()),
        }
    }

    async fn versioning(&self) -> Proof {
        let mut action = self.bucket.get_object(Some(self.credentials), "");
        action.query_mut().insert("versioning", "");
        match self.ask(Method::GET, action).await.map(|(_, text)| answer::is_versioned(&text)) {
            Ok(Ok(true)) => Proof::Proven,
            Ok(Ok(false)) => Proof::Refuted,
            Ok(Err(problem)) => Proof::Unknown(problem),
            Err(error) => Proof::Unknown(error.to_string()),
        }
    }

    fn unanswered(&self, problem: String) -> LookError {
        LookError::Unanswered { store: self.store.clone(), problem }
    }

    /// One request: the head and the text of an answer that says yes.
    async fn ask<'b>(&self, method: Method, action: impl S3Action<'b>) -> Result<(HeaderMap, String), LookError> {
        let url = action.sign_with_time(SIGNED_FOR, &self.time);
        let sent = self.stores.http.request(method, url).send().await;
        let mut answer = sent.map_err(|error| self.unanswered(chain(&error.without_url())))?;
        let body = web::body(&mut answer, self.stores.limits.octets, &self.store).await?;
        let text = String::from_utf8(body).map_err(|_| self.unanswered("its answer is no text".to_owned()))?;
        if answer.status() == StatusCode::OK {
            return Ok((answer.headers().clone(), text));
        }
        let problem = Refusal::read(&text).told(answer.status(), answer.headers());
        Err(LookError::Refused { store: self.store.clone(), problem })
    }
}
