//! The JSON mirror over HTTP/1: the same answers, roles and refusals, and nothing that a stranger sends does harm.

use portolan::api::proto::ListOverridesRequest;
use serde_json::{Value, json};

use super::Node;

const CREATE: &str = "portolan.v1.OverrideService/CreateOverride";

/// Answers of one node.
struct Http(reqwest::Client, String);

impl Http {
    fn of(node: &Node) -> Self {
        Self(reqwest::Client::new(), format!("http://{}", node.server.address()))
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.0.post(format!("{}/{path}", self.1)).header("content-type", "application/json; charset=utf-8");
        answer(request.body(body)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.0.get(format!("{}/{path}", self.1))).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn order(region: &str) -> Value {
    json!({ "override": { "scope": { "region": region }, "kind": "KIND_DRAIN", "ttl": "3600s" }, "reason": "kernel update" })
}

#[tokio::test]
async fn what_goes_through_grpc_goes_through_json() {
    let node = Node::start().await;
    let http = Http::of(&node);
    let (status, given) = http.post(CREATE, order("us-east-1").to_string()).await;
    assert_eq!(status, 200, "{given}");
    assert_eq!(given["override"]["name"], "overrides/o-6");
    assert_eq!(given["override"]["expireTime"], "2026-11-22T04:03:20Z");
    assert_eq!((&given["commit"]["index"], &given["commit"]["validateOnly"]), (&json!("6"), &json!(false)));
    let listed = node.client.list_overrides(ListOverridesRequest::default()).await.unwrap();
    assert_eq!(listed.overrides[0].name, "overrides/o-6");

    let (status, list) = http.get("portolan.v1.OverrideService/ListOverrides?page_size=1&pageToken=").await;
    assert_eq!((status, &list["overrides"][0]["kind"]), (200, &json!("KIND_DRAIN")));
    let (_, who) = http.post("portolan.v1.AccessService/WhoAmI", "").await;
    assert_eq!((&who["name"], &who["role"]), (&json!("local"), &json!("ROLE_ADMIN")));
    let (_, region) = http.get("portolan.v1.TrafficService/GetRegion?name=regions/us-east-1").await;
    assert_eq!((&region["region"]["observed"], &region["region"]["failures"]), (&json!("HEALTH_UP"), &json!(0)));
    let (_, simulated) = http.get("portolan.v1.SimulateService/Simulate?fail_regions=us-east-1").await;
    assert_eq!((&simulated["shareMoved"], &simulated["detectionRefused"]), (&json!(6000), &json!("2.500s")));
}

#[tokio::test]
async fn refusals_carry_status_reason_and_remedy() {
    let node = Node::start().await;
    let http = Http::of(&node);
    http.post(CREATE, order("us-east-1").to_string()).await;
    let (status, refused) = http.post(CREATE, order("eu-west-1").to_string()).await;
    let error = &refused["error"];
    assert_eq!((status, &error["code"], &error["status"]), (400, &json!(400), &json!("FAILED_PRECONDITION")));
    let info = &error["details"][0];
    assert_eq!((&info["reason"], &info["domain"]), (&json!("MIN_HEALTHY_REGIONS"), &json!("portolan")));
    assert_eq!(info["metadata"]["override"], "min_healthy_regions");
    assert_eq!(error["details"][1]["@type"], "type.googleapis.com/google.rpc.PreconditionFailure");
    let (status, missing) = http.get("portolan.v1.OverrideService/GetOverride?name=overrides/none").await;
    assert_eq!((status, &missing["error"]["status"]), (404, &json!("NOT_FOUND")));
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_the_next_call_is_served() {
    let node = Node::start().await;
    let http = Http::of(&node);
    let mut misspelt = order("us-east-1");
    misspelt["raeson"] = "x".into();
    let deep = format!(r#"{{"override": {}"#, r#"{"scope":"#.repeat(100_000));
    let cases: [(String, u16, &str); 5] = [
        (misspelt.to_string(), 400, "raeson"),
        ("{".to_owned(), 400, "EOF"),
        ("[]".to_owned(), 400, "body"),
        (deep, 400, "body"),
        (format!(r#"{{"reason": "{}"}}"#, "x".repeat(3 * 1024 * 1024)), 413, "octets"),
    ];
    for (body, expected, named) in cases {
        let (status, refused) = http.post(CREATE, body).await;
        let message = refused["error"]["message"].as_str().unwrap();
        assert_eq!((status, message.contains(named)), (expected, true), "{message}");
    }
    let (status, refused) = http.post("portolan.v1.OverrideService/Nothing", "{}").await;
    assert_eq!((status, refused["error"]["code"].as_u64()), (404, Some(404)));
    assert_eq!(http.get("").await.0, 404);
    assert_eq!(http.get("portolan.v1.OverrideService/ListOverrides?size=1").await.0, 400);
    assert_eq!(http.get("portolan.v1.OverrideService/ListOverrides?page_size=1&pageSize=2").await.0, 400);
    assert_eq!(http.post(CREATE, order("us-east-1").to_string()).await.0, 200);
}

#[tokio::test]
async fn a_foreign_page_can_change_nothing() {
    let node = Node::start().await;
    let http = Http::of(&node);
    let url = format!("{}/{CREATE}", http.1);
    // What a browser sends for a form, or for a script without asking first.
    for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let (status, _) = answer(http.0.post(&url).header("content-type", form).body(order("us-east-1").to_string())).await;
        assert_eq!(status, 415, "{form}");
    }
    assert_eq!(answer(http.0.post(&url).body(order("us-east-1").to_string())).await.0, 415);
    let asked = http.0.request(reqwest::Method::OPTIONS, &url).header("origin", "https://evil.example.com").send().await.unwrap();
    assert_eq!((asked.status().as_u16(), asked.headers().get("access-control-allow-origin")), (405, None));
    let got = http.0.get(&url).send().await.unwrap();
    assert_eq!((got.status().as_u16(), got.headers()["allow"].as_bytes()), (405, &b"POST"[..]));
    assert!(node.client.list_overrides(ListOverridesRequest::default()).await.unwrap().overrides.is_empty());
}

#[tokio::test]
async fn without_tls_a_call_for_another_name_is_refused_as_a_page_may_be_behind_it() {
    let node = Node::start().await;
    let http = Http::of(&node);
    let port = node.server.address().port();
    let url = format!("{}/{CREATE}", http.1);
    let call = |host: String| {
        let request = http.0.post(&url).header("content-type", "application/json").header("host", host);
        answer(request.body(order("us-east-1").to_string()))
    };
    for host in ["evil.example.com".to_owned(), format!("evil.example.com:{port}"), "127.0.0.1.evil.example.com".to_owned()] {
        let (status, refused) = call(host).await;
        assert_eq!((status, &refused["error"]["details"][0]["reason"]), (403, &json!("FOREIGN_HOST")));
    }
    // The same octets in the form of gRPC, which a page on its own port could send, too.
    let grpc = http.0.post(&url).header("content-type", "application/grpc").header("host", "evil.example.com").body(vec![0; 5]);
    assert_eq!(grpc.send().await.unwrap().headers()["grpc-status"], "7");
    for host in [format!("localhost:{port}"), format!("[::1]:{port}"), "127.0.0.1".to_owned()] {
        assert_eq!(call(host).await.0, 200);
    }
}

#[tokio::test]
async fn a_stream_is_lines_and_one_that_is_refused_is_an_error() {
    let node = Node::start().await;
    let http = Http::of(&node);
    let exported = http.0.get(format!("{}/portolan.v1.AuditService/ExportAudit?after_index=3", http.1)).send().await.unwrap();
    assert_eq!(exported.headers()["content-type"], "application/x-ndjson");
    let text = exported.text().await.unwrap();
    let message: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((message["lines"].as_array().unwrap().len(), text.lines().count()), (2, 1));

    let mut watched = http.0.get(format!("{}/portolan.v1.EventService/WatchEvents", http.1)).send().await.unwrap();
    let first = watched.chunk().await.unwrap().unwrap();
    assert!(first.ends_with(b"\n"));
    node.cluster.tell("one");
    let second: Value = serde_json::from_slice(&watched.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!(second["events"][0]["text"], "one");
    let (status, refused) = http.get("portolan.v1.EventService/WatchEvents?token=euw1-a.1.1").await;
    assert_eq!((status, &refused["error"]["details"][0]["reason"]), (400, &json!("TOKEN_OUT_OF_RANGE")));
}

#[tokio::test]
async fn the_document_is_served() {
    let node = Node::start().await;
    let (status, document) = Http::of(&node).get("openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    assert!(document["paths"].as_object().unwrap().contains_key(&format!("/{CREATE}")));
}
