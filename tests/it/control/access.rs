//! Who may what: certificates, tokens, the table of methods, and how often.

use std::{path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use portolan::{
    api::{
        ApiOptions, ApiServer, AuthOptions, Binding, JwtOptions, TlsFiles, Who,
        auth::methods::METHODS,
        proto::{
            CanIRequest, GetClusterRequest, ListOverridesRequest, Role as WireRole, StartFailoverRequest, WhoAmIRequest,
            who_am_i_response::Proof,
        },
    },
    client::{BearerToken, Client, Target},
};
use portolan_core::cluster::Role;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, SignatureAlgorithm};
use serde_json::{Value, json};
use tonic::Code;
use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::{Authority, Node, at, double::Ideal, drain, loopback, operations, refused, serve};
use crate::canned::NOW;

const RUNNER: &str = "spiffe://example.com/runner";
const ADMIN: &str = "spiffe://example.com/admin";
const ISSUER: &str = "https://id.example.com";

fn bindings() -> Vec<Binding> {
    let spiffe = |role, id: &str| Binding { role, who: Who::Spiffe(id.to_owned()) };
    let group = |role, name: &str| Binding { role, who: Who::Group(name.to_owned()) };
    vec![
        spiffe(Role::Operator, RUNNER),
        spiffe(Role::Admin, ADMIN),
        group(Role::Operator, "sre"),
        group(Role::Viewer, "staff"),
        group(Role::Admin, "platform"),
    ]
}

/// A node with TLS, and the authority that its clients' certificates are by.
struct Secured {
    folder: tempfile::TempDir,
    authority: Authority,
    server: ApiServer,
    cluster: Arc<Ideal>,
}

impl Secured {
    async fn start(jwt: Option<JwtOptions>) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
        let files = authority.files(folder.path(), "server", None, &authority);
        let options = ApiOptions {
            auth: AuthOptions { jwt, bindings: bindings() },
            clock: Arc::new(NOW),
            ..ApiOptions::new(loopback(), Some(files))
        };
        let cluster = Ideal::founded();
        Self { server: serve(options, &cluster).await, folder, authority, cluster }
    }

    fn files(&self, name: &str, spiffe: Option<&str>) -> TlsFiles {
        self.authority.files(self.folder.path(), name, spiffe, &self.authority)
    }

    async fn as_certificate(&self, name: &str, spiffe: Option<&str>) -> Client {
        let target = Target { tls: Some(self.files(name, spiffe)), ..at(self.server.address()) };
        Client::connect(&target).await.unwrap()
    }

    async fn as_token(&self, token: &str) -> Client {
        let ca_file = Some(self.folder.path().join("server-ca.pem"));
        let target = Target { ca_file, token: Some(BearerToken::new(token).unwrap()), ..at(self.server.address()) };
        Client::connect(&target).await.unwrap()
    }
}

#[tokio::test]
async fn without_tls_everybody_on_the_machine_is_admin_and_is_told_so() {
    let node = Node::start().await;
    let client = &node.client;
    let me = client.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.name.as_str(), me.role(), me.proof()), ("local", WireRole::Admin, Proof::Loopback));
    assert!(me.because.contains("no TLS"), "{}", me.because);
    let can = client.can_i(CanIRequest { method: "ForceQuorum".to_owned() }).await.unwrap();
    assert_eq!((can.allowed, can.needed()), (false, WireRole::Breakglass));
    assert_eq!(can.method, "portolan.v1.ClusterService/ForceQuorum");
    let refusal = refused(client.can_i(CanIRequest { method: "Fly".to_owned() }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "BAD_FIELD"));
}

#[tokio::test]
async fn a_certificate_reads_and_its_spiffe_id_gives_it_more() {
    let node = Secured::start(None).await;
    let viewer = node.as_certificate("laptop", None).await;
    let me = viewer.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.name.as_str(), me.role(), me.proof()), ("dns:localhost", WireRole::Viewer, Proof::Certificate));
    viewer.list_overrides(ListOverridesRequest::default()).await.unwrap();
    let refusal = refused(viewer.create_override(drain("us-east-1")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    assert!(
        refusal.message.starts_with("dns:localhost (viewer) may not call CreateOverride: it needs the role operator"),
        "{}",
        refusal.message
    );
    assert!(refusal.remedy.contains("auth.roles"), "{}", refusal.remedy);

    let runner = node.as_certificate("runner", Some(RUNNER)).await;
    let given = runner.create_override(drain("us-east-1")).await.unwrap();
    assert_eq!(given.r#override.unwrap().creator, RUNNER);
    assert_eq!(refused(runner.apply_plan(portolan::api::proto::ApplyPlanRequest::default()).await).reason, "ROLE_MISSING");
    let stranger = node.as_certificate("other", Some("spiffe://example.com/runner/x")).await;
    assert_eq!(stranger.who_am_i(WhoAmIRequest {}).await.unwrap().role(), WireRole::Viewer);
    let link = node.cluster.state().audit().links().next_back().unwrap().clone();
    assert_eq!((link.who.as_str(), link.role), (RUNNER, Role::Operator));
}

#[tokio::test]
async fn each_role_may_what_the_table_says_and_nothing_more() {
    let node = Secured::start(None).await;
    let roles = [("laptop", None, Role::Viewer), ("runner", Some(RUNNER), Role::Operator), ("root", Some(ADMIN), Role::Admin)];
    for (name, spiffe, role) in roles {
        let files = node.files(name, spiffe);
        let read = |path: &Path| std::fs::read(path).unwrap();
        let identity = reqwest::Identity::from_pem(&[read(&files.cert_file), read(&files.key_file)].concat()).unwrap();
        let authority = reqwest::Certificate::from_pem(&read(&files.ca_file)).unwrap();
        let http = reqwest::Client::builder().tls_certs_only([authority]).identity(identity).build().unwrap();
        for method in METHODS.iter().filter(|method| method.name.starts_with("portolan.")) {
            let url = format!("https://localhost:{}/{}", node.server.address().port(), method.name);
            let answer = http.post(url).header("content-type", "application/json").body("{}").send().await.unwrap();
            assert_eq!(answer.status() == 403, method.least > Some(role), "{role} at {}: {}", method.name, answer.status());
        }
    }
}

/// What only an approver may say stands in requests that operators may send.
#[tokio::test]
async fn an_operator_fails_over_by_the_plan_and_neither_allows_a_loss_nor_answers_for_a_fence() {
    let node = Secured::start(None).await;
    operations::adopt(&node.cluster);
    let runner = node.as_certificate("runner", Some(RUNNER)).await;
    let plain = StartFailoverRequest { allowed_loss: None, validate_only: true, ..operations::failover() };
    let asserted = StartFailoverRequest { assert_fenced: "us-east-1".to_owned(), validate_only: false, ..plain.clone() };
    for (beyond, field) in [(operations::failover(), "lost beyond the plan"), (asserted, "that the old primary is stopped")] {
        let refusal = refused(runner.start_failover(beyond).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
        assert!(refusal.message.contains(field), "{refusal:?}");
    }
    assert!(node.cluster.drafts.lock().unwrap().is_empty(), "nothing was begun");
    // Whether so much may be lost is the cluster's to judge: this plan has no target.
    assert_eq!(refused(runner.start_failover(plain).await).reason, "RPO_GATE");
}

/// An issuer with one key.
struct Issuer {
    key: KeyPair,
    jwks: std::path::PathBuf,
    id: String,
}

impl Issuer {
    fn new(folder: &Path, id: &str, form: &'static SignatureAlgorithm) -> Self {
        let issuer = Self { key: KeyPair::generate_for(form).unwrap(), jwks: folder.join("jwks.json"), id: id.to_owned() };
        issuer.publish();
        issuer
    }

    /// As RFC 7518 and RFC 8037 write it.
    fn algorithm(&self) -> &'static str {
        if self.key.is_compatible(&PKCS_ED25519) {
            "EdDSA"
        } else if self.key.is_compatible(&PKCS_RSA_SHA256) {
            "RS256"
        } else {
            "ES256"
        }
    }

    fn publish(&self) {
        let raw = self.key.public_key_raw();
        let mut jwk = match self.algorithm() {
            "EdDSA" => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(raw) }),
            "ES256" => json!({ "kty": "EC", "crv": "P-256", "x": base64(&raw[1..33]), "y": base64(&raw[33..]) }),
            _ => {
                let (n, e) = rsa(&self.key);
                json!({ "kty": "RSA", "n": base64(&n), "e": base64(&e) })
            }
        };
        jwk["kid"] = self.id.clone().into();
        jwk["use"] = "sig".into();
        // Keys for other purposes stand in the same file.
        let others = [json!({ "kty": "oct", "k": "AAAA", "kid": self.id }), json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" })];
        std::fs::write(&self.jwks, json!({ "keys": [others[0], jwk, others[1]] }).to_string()).unwrap();
    }

    fn options(&self) -> JwtOptions {
        let (issuer, audience, role_claim) = (ISSUER.to_owned(), "portolan".to_owned(), "groups".to_owned());
        JwtOptions { issuer, audience, jwks_file: self.jwks.clone(), role_claim }
    }

    /// A token of ana with these claims over the usual ones.
    fn token(&self, over: Value) -> String {
        let now = NOW.0 / 1000;
        let mut claims = json!({ "iss": ISSUER, "aud": "portolan", "sub": "ana", "exp": now + 600, "groups": ["staff", "sre"] });
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id });
        let signed = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        format!("{signed}.{}", base64(&self.sign(signed.as_bytes())))
    }

    fn sign(&self, octets: &[u8]) -> Vec<u8> {
        let (pkcs8, random) = (self.key.serialize_der(), SystemRandom::new());
        match self.algorithm() {
            "EdDSA" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).unwrap().sign(octets).as_ref().to_vec(),
            "ES256" => {
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
                key.sign(&random, octets).unwrap().as_ref().to_vec()
            }
            _ => {
                let key = RsaKeyPair::from_pkcs8(&pkcs8).unwrap();
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, octets, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// Modulus and exponent of an RSA key.
fn rsa(key: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    let der = key.subject_public_key_info();
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).unwrap();
    let PublicKey::RSA(key) = info.parsed().unwrap() else { panic!("it is an RSA key") };
    (key.modulus.iter().copied().skip_while(|octet| *octet == 0).collect(), key.exponent.to_vec())
}

/// base64url without padding (RFC 4648 section 5).
fn base64(octets: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - three.len()));
        text.extend((0..=three.len()).map(|i| char::from(letters[(bits >> (18 - 6 * i) & 63) as usize])));
    }
    text
}

#[tokio::test]
async fn tokens_are_taken_in_three_forms_of_signature() {
    for form in [&PKCS_ED25519, &PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256] {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::new(folder.path(), "one", form);
        let node = Secured::start(Some(issuer.options())).await;
        let ana = node.as_token(&issuer.token(json!({}))).await;
        assert_eq!(ana.who_am_i(WhoAmIRequest {}).await.unwrap().role(), WireRole::Operator, "{form:?}");
        // Another issuer's key of the same form and id.
        let other = tempfile::tempdir().unwrap();
        let evil = Issuer::new(other.path(), "one", form);
        let refusal = refused(node.as_token(&evil.token(json!({}))).await.who_am_i(WhoAmIRequest {}).await);
        assert_eq!(refusal.reason, "UNPROVED", "{form:?}");
    }
}

#[tokio::test]
async fn a_token_says_who_calls_and_its_groups_what_they_may() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new(folder.path(), "one", &PKCS_ED25519);
    let node = Secured::start(Some(issuer.options())).await;
    let ana = node.as_token(&issuer.token(json!({}))).await;
    let me = ana.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.name.as_str(), me.role(), me.proof()), ("user:ana", WireRole::Operator, Proof::Token));
    assert_eq!((me.groups.join(" "), me.because.as_str()), ("staff sre".to_owned(), "auth.roles gives operator to group sre"));
    assert_eq!(ana.create_override(drain("us-east-1")).await.unwrap().r#override.unwrap().creator, "user:ana");

    // In no group that has a role.
    let guest = node.as_token(&issuer.token(json!({ "groups": "guests" }))).await;
    let refusal = refused(guest.list_overrides(ListOverridesRequest::default()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE_MISSING"));
    // The audience may be one of several.
    let several = node.as_token(&issuer.token(json!({ "aud": ["other", "portolan"], "groups": ["platform"] }))).await;
    assert_eq!(several.who_am_i(WhoAmIRequest {}).await.unwrap().role(), WireRole::Admin);

    // A token beats the certificate that it comes with.
    let token = Some(BearerToken::new(&issuer.token(json!({ "groups": ["staff"] }))).unwrap());
    let both = Target { tls: Some(node.files("root", Some(ADMIN))), token, ..at(node.server.address()) };
    let both = Client::connect(&both).await.unwrap();
    assert_eq!(both.who_am_i(WhoAmIRequest {}).await.unwrap().role(), WireRole::Viewer);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new(folder.path(), "one", &PKCS_ED25519);
    let node = Secured::start(Some(issuer.options())).await;
    let now = NOW.0 / 1000;
    let good = issuer.token(json!({}));
    let (body, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{body}.{flipped}{}", &signature[1..]);
    let unsigned = |alg: &str| format!("{}.{}.AAAA", base64(json!({ "alg": alg }).to_string().as_bytes()), base64(b"{}"));
    let other = tempfile::tempdir().unwrap();
    let unknown = Issuer::new(other.path(), "two", &PKCS_ED25519);
    for (token, reason) in [
        (issuer.token(json!({ "exp": now - 61 })), "it ended at"),
        (issuer.token(json!({ "exp": null })), "exp"),
        (issuer.token(json!({ "nbf": now + 120 })), "it is good from"),
        (issuer.token(json!({ "aud": "another" })), "for audience portolan"),
        (issuer.token(json!({ "iss": "https://evil.example.com" })), "by issuer https://id.example.com"),
        (issuer.token(json!({ "sub": "ana\nadmin" })), "subject"),
        (forged, "InvalidSignature"),
        (unsigned("HS256"), "HS256"),
        (unsigned("none"), "no signed JWT"),
        (unknown.token(json!({})), "no key in the jwks_file"),
        ("e30.e30.".to_owned(), "no signed JWT"),
        ("x".repeat(9000), "octets"),
    ] {
        let client = node.as_token(&token).await;
        let refusal = refused(client.list_overrides(ListOverridesRequest::default()).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "UNPROVED"), "{reason}");
        assert!(refusal.message.contains(reason), "{reason}: {}", refusal.message);
        assert!(!refusal.message.contains(&token), "a token is shown nowhere");
    }
    // A minute of leeway, both ways.
    let client = node.as_token(&issuer.token(json!({ "exp": now - 50, "nbf": now + 50 }))).await;
    client.list_overrides(ListOverridesRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_token_that_nobody_can_judge_is_refused_and_not_ignored() {
    let node = Node::start().await;
    let target = Target { token: Some(BearerToken::new("a.b.c").unwrap()), ..at(node.server.address()) };
    let client = Client::connect(&target).await;
    let refusal = refused(client.unwrap().list_overrides(ListOverridesRequest::default()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "UNPROVED"));
    assert!(refusal.message.contains("auth.jwt"), "{}", refusal.message);
}

#[tokio::test]
async fn who_shows_nothing_may_only_ask_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new(folder.path(), "one", &PKCS_ED25519);
    let node = Secured::start(Some(issuer.options())).await;
    let target = Target { ca_file: Some(node.folder.path().join("server-ca.pem")), ..at(node.server.address()) };
    let nobody = Client::connect(&target).await.unwrap();
    let me = nobody.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert_eq!((me.name.as_str(), me.role(), me.proof()), ("anonymous", WireRole::Unspecified, Proof::Unspecified));
    let refusal = refused(nobody.get_cluster(GetClusterRequest {}).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "UNPROVED"));
}

#[tokio::test]
async fn a_renewed_key_of_the_issuer_is_taken_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let old = Issuer::new(folder.path(), "one", &PKCS_ED25519);
    let node = Secured::start(Some(old.options())).await;
    std::fs::write(&old.jwks, "{").unwrap();
    let ana = node.as_token(&old.token(json!({}))).await;
    ana.who_am_i(WhoAmIRequest {}).await.unwrap();
    let new = Issuer::new(folder.path(), "two", &PKCS_ED25519);
    let taken = async {
        let ben = node.as_token(&new.token(json!({ "sub": "ben" }))).await;
        while ben.who_am_i(WhoAmIRequest {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    // Wrong tokens are slowed down, so this takes some tries more than looks at the file.
    tokio::time::timeout(std::time::Duration::from_secs(30), taken).await.expect("the new key is in force");
    assert!(ana.who_am_i(WhoAmIRequest {}).await.is_err(), "the old key is no more");
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_call_again_and_others_go_on() {
    use portolan::api::proto::override_service_client::OverrideServiceClient;
    use tonic_types::StatusExt as _;
    let node = Node::start().await;
    let (server, client) = (&node.server, &node.client);
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", server.address())).unwrap().connect().await.unwrap();
    let mut raw = OverrideServiceClient::new(channel);
    let request = portolan::api::proto::CreateOverrideRequest { validate_only: true, ..drain("us-east-1") };
    let mut accepted = 0;
    let status = loop {
        match raw.create_override(request.clone()).await {
            Ok(_) => accepted += 1,
            Err(status) => break status,
        }
        assert!(accepted < 10_000, "nobody stops a script that runs away");
    };
    assert!(accepted >= 60, "{accepted}");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RATE_LIMITED");
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(!wait.is_zero() && wait.as_millis() <= 200, "{wait:?}");
    client.list_overrides(ListOverridesRequest::default()).await.expect("reads have a bucket of their own");
}

#[tokio::test]
async fn the_mirror_asks_for_the_same_proofs_and_says_so_in_the_words_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let issuer = Issuer::new(folder.path(), "one", &PKCS_ED25519);
    let node = Secured::start(Some(issuer.options())).await;
    let authority = reqwest::Certificate::from_pem(&std::fs::read(node.folder.path().join("server-ca.pem")).unwrap()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let base = format!("https://localhost:{}", node.server.address().port());
    let get = |path: &str| http.get(format!("{base}/{path}"));
    let list = "portolan.v1.OverrideService/ListOverrides";

    let stranger = get(list).send().await.unwrap();
    assert_eq!((stranger.status().as_u16(), stranger.headers()["www-authenticate"].as_bytes()), (401, &b"Bearer"[..]));
    assert_eq!(get("openapi.json").send().await.unwrap().status(), 200, "what can be called is no secret");
    let bearer = |over: Value| format!("bearer {}", issuer.token(over));
    let seen = get(list).header("authorization", bearer(json!({ "groups": ["staff"] }))).send().await.unwrap();
    assert_eq!(seen.status(), 200);
    let change = |over: Value| {
        let call = http.post(format!("{base}/portolan.v1.OverrideService/CreateOverride")).header("content-type", "application/json");
        call.header("authorization", bearer(over)).body(r#"{"validateOnly":true}"#).send()
    };
    assert_eq!(change(json!({ "groups": ["staff"] })).await.unwrap().status(), 403);
    assert_eq!(change(json!({})).await.unwrap().status(), 400, "ana may, but says nothing that can be done");
    let limited = loop {
        let answer = change(json!({ "sub": "script" })).await.unwrap();
        if answer.status() == 429 {
            break answer;
        }
    };
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(change(json!({})).await.unwrap().status(), 400, "ana goes on");
}
