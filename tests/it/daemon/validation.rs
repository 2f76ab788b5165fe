//! What the plan wants to be shown of a new primary: a program of the operator, a page, and a figure of a real Prometheus, each of which holds the
//! operation until it is shown.

use portolan::api::proto::{GetOperationRequest, Operation, RetryStepRequest};

use super::{
    groups::{Play, group, switchover},
    hooks::put,
    plan::*,
    setback::{Prometheus, Shop},
    site::{Mood, Site},
    *,
};

fn recovery(prometheus: &str, page: SocketAddr) -> String {
    format!(
        "disaster_recovery:\n  rpo_target: 1h\n  rto_target: 30m\n  recovery_procedures:\n    data_recovery: {{ primary_source: \
         continuous_replication, validation_steps: [caches_are_warm, shop_answers, few_errors] }}\n\
         validation:\n  caches_are_warm: {{ hook: warm, timeout: 2s }}\n  \
         shop_answers: {{ http: \"http://{page}/selftest\", expect: {{ status: \"200\" }}, timeout: 2s }}\n  \
         few_errors: {{ signal: error_rate, below: 5%, for: 2s, timeout: 6s }}\n\
         signals:\n  sources: {{ shop: {{ prometheus: \"{prometheus}\" }} }}\n  queries:\n    \
         error_rate: {{ source: shop, unit: ratio, query: \"shop_error_rate{{region=\\\"{{region}}\\\"}}\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_primary_is_held_until_a_program_a_page_and_a_figure_show_that_it_serves() {
    let shop = Shop::default();
    shop.fails(US, 0.01);
    shop.fails(EU, 0.07);
    let prometheus = Prometheus::start(shop.open().await).await;
    let page = Site::with(Mood::Answers(503, "not yet".to_owned())).await;
    let play = Play::with(&[], "", &recovery(&prometheus.url, page.address)).await;
    let directory = tempfile::tempdir().unwrap();
    let (warm, called) = (directory.path().join("warm"), directory.path().join("called"));
    let script = format!(
        "echo \"$PORTOLAN_GROUP $PORTOLAN_REGION $PORTOLAN_STEP\" >> {}; test -e {} || {{ echo caches are cold; exit 1; }}",
        called.display(),
        warm.display()
    );
    put(&play, "warm", &script);
    play.is_served_by(US).await;
    let node = play.fleet.running().next().unwrap().client().await;
    let name = node.start_switchover(switchover(EU, "kernel update")).await.unwrap().group.unwrap().operation.unwrap().name;
    let held = async |why: &str| {
        let look = async || {
            let asked = GetOperationRequest { name: name.clone() };
            let operation: Operation = node.get_operation(asked).await.unwrap().operation.unwrap();
            (operation.held_because.contains(why)).then_some((operation.phase, operation.held))
        };
        assert_eq!(given(&format!("held: {why}"), look).await, ("promoted".to_owned(), "VALIDATION".to_owned()), "{why}");
    };
    let retry = async |reason: &str| {
        let again = RetryStepRequest { name: name.clone(), reason: reason.to_owned(), ..RetryStepRequest::default() };
        node.retry_step(again).await.unwrap();
    };
    held(&format!("caches_are_warm in {EU}: hook `warm` ended with 1: caches are cold")).await;
    // It is the primary all the while, and takes writes.
    let client = play.member(EU).connect().await.unwrap();
    client.batch_execute("create table ledger (id bigint primary key)").await.unwrap();
    std::fs::write(&warm, "").unwrap();
    retry("the caches were warmed").await;
    held(&format!("shop_answers in {EU}: ")).await;
    page.set_healthy();
    retry("the shop was started").await;
    held(&format!("few_errors in {EU}: ")).await;
    shop.fails(EU, 0.01);
    retry("the shop was mended").await;
    play.is_served_by(EU).await;
    let state = play.fleet.running().next().unwrap().daemon.agreed();
    let done = state.group(&group()).unwrap().latest.as_ref().unwrap();
    assert_eq!(format!("operations/op-{}", done.operation.id), name);
    assert_eq!(done.operation.acts.len(), 3, "each retry is on the record: {:#?}", done.operation.acts);
    let called = std::fs::read_to_string(called).unwrap();
    assert!(called.lines().count() >= 3 && called.lines().all(|line| line == format!("orders {EU} caches_are_warm")), "{called}");
}
