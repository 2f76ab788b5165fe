//! The plan: read, compared, put in force once, and only from the revision that its author knew.

use portolan::api::{
    PLANS_MAX,
    proto::{
        ApplyPlanRequest, DiffPlanRequest, GetPlanRequest, Overrule, PlanDocument, ValidatePlanRequest, plan_problem::Severity,
        plan_service_client::PlanServiceClient,
    },
};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{Node, double::PLAN, drain, refused};

fn document(text: String) -> Option<PlanDocument> {
    Some(PlanDocument { text, ..Default::default() })
}

fn revision(n: u64, weight: u64) -> String {
    PLAN.replace("revision: 1", &format!("revision: {n}")).replace("weight: 60", &format!("weight: {weight}"))
}

#[tokio::test]
async fn a_plan_is_put_in_force_from_the_revision_that_was_known() {
    let node = Node::start().await;
    let client = &node.client;
    let running = client.get_plan(GetPlanRequest {}).await.unwrap();
    assert_eq!((running.revision, running.index, running.creator.as_str()), (1, 5, "node use1-a"));
    assert_eq!(running.document.unwrap().text, PLAN);

    let apply =
        |text: String, expected| ApplyPlanRequest { document: document(text), expected_revision: Some(expected), ..Default::default() };
    let judged = ApplyPlanRequest { validate_only: true, ..apply(revision(2, 50), 1) };
    assert!(client.apply_plan(judged).await.unwrap().commit.unwrap().index.is_none());
    let applied = client.apply_plan(apply(revision(2, 50), 1)).await.unwrap();
    assert_eq!((applied.revision, applied.digest.len(), applied.commit.unwrap().index), (2, 64, Some(6)));

    let refusal = refused(client.apply_plan(apply(revision(3, 40), 1)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Aborted, "REVISION_MISMATCH"));
    let refusal = refused(client.apply_plan(apply(revision(2, 40), 2)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "PLAN_REVISION"));
    // What is in force already is accepted again.
    client.apply_plan(apply(revision(2, 50), 2)).await.unwrap();
    assert_eq!(client.get_plan(GetPlanRequest {}).await.unwrap().revision, 2);
}

#[tokio::test]
async fn every_problem_is_named_and_a_plan_with_errors_is_refused_whole() {
    let node = Node::start().await;
    let (client, cluster) = (&node.client, &node.cluster);
    let broken = revision(2, 70_000).replace("steering: geo", "stering: geo");
    let answer = client.validate_plan(ValidatePlanRequest { document: document(broken.clone()) }).await.unwrap();
    assert!(!answer.valid);
    let errors: Vec<_> = answer.problems.iter().filter(|problem| problem.severity() == Severity::Error).collect();
    assert!(errors.len() >= 2 && errors.iter().all(|problem| problem.line > 0 && !problem.message.is_empty()), "{errors:?}");
    assert!(errors.iter().any(|problem| problem.fix.contains("steering")), "{errors:?}");

    let before = cluster.state();
    let refusal = refused(client.apply_plan(ApplyPlanRequest { document: document(broken), ..Default::default() }).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "PLAN_INVALID"));
    assert!(refusal.message.contains(&format!("plan:{}:", errors[0].line)), "{}", refusal.message);
    assert_eq!(cluster.state(), before, "not even the audit: it was never proposed");

    let good = client.validate_plan(ValidatePlanRequest { document: document(revision(2, 50)) }).await.unwrap();
    assert_eq!((good.valid, good.revision, good.digest.len()), (true, 2, 64));
    assert_eq!(refused(client.validate_plan(ValidatePlanRequest { document: None }).await).reason, "BAD_FIELD");
}

#[tokio::test]
async fn a_difference_is_shown_as_lines_and_by_meaning() {
    let node = Node::start().await;
    let client = &node.client;
    let diff = |text: String| client.diff_plan(DiffPlanRequest { document: document(text) });
    let same = diff(format!("# a comment\n{PLAN}")).await.unwrap();
    assert_eq!((same.running_revision, same.same_meaning, same.files.len()), (1, true, 1));
    let other = diff(revision(2, 50)).await.unwrap();
    assert!(!other.same_meaning);
    let unified = &other.files[0].unified;
    assert!(unified.contains("-revision: 1\n+revision: 2\n") && unified.contains("+  us-east-1: { weight: 50,"), "{unified}");
    assert_eq!(diff(PLAN.to_owned()).await.unwrap().files, []);
}

#[tokio::test]
async fn guardrails_judge_plans_too() {
    let node = Node::start().await;
    let client = &node.client;
    client.create_override(drain("us-east-1")).await.unwrap();
    let fewer = revision(2, 60).replace("      eu-west-1: [{ address: 192.0.2.20, port: 80 }]\n", "");
    let request = ApplyPlanRequest { document: document(fewer), ..Default::default() };
    let refusal = refused(client.apply_plan(request.clone()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "MIN_HEALTHY_REGIONS"));
    let overrule = Overrule { rule: refusal.overrule, reason: "eu-west-1 is given up".to_owned(), expiration: None };
    let applied = client.apply_plan(ApplyPlanRequest { overrules: vec![overrule], ..request }).await.unwrap();
    assert_eq!(applied.revision, 2);
}

#[tokio::test]
async fn a_plan_of_full_length_goes_through_and_a_longer_one_is_refused() {
    let node = Node::start().await;
    let client = &node.client;
    let max = portolan_core::cluster::limits::PLAN_TEXT_MAX;
    // Comments, which mean nothing and count all the same.
    let padded = |n: usize| {
        let mut text = revision(2, 50);
        while text.len() < n {
            let line = (n - text.len()).min(100);
            text.push_str(&"#".repeat(line - 1));
            text.push('\n');
        }
        assert_eq!(text.len(), n);
        text
    };
    let apply = |n: usize| client.apply_plan(ApplyPlanRequest { document: document(padded(n)), ..Default::default() });
    let refusal = refused(apply(max + 1).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "BAD_FIELD"));
    assert_eq!(refused(apply(5 * max).await).code, Code::OutOfRange);
    assert_eq!(apply(max).await.unwrap().revision, 2);
}

#[tokio::test]
async fn so_many_plans_are_read_at_a_time_and_the_next_caller_is_told_to_wait() {
    let node = Node::start().await;
    node.cluster.reads_plans.send_replace(false);
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", node.server.address())).unwrap().connect().await.unwrap();
    let validate = || {
        let mut service = PlanServiceClient::new(channel.clone());
        async move { service.validate_plan(ValidatePlanRequest { document: document(PLAN.to_owned()) }).await }
    };
    let waiting: Vec<_> = (0..PLANS_MAX).map(|_| tokio::spawn(validate())).collect();
    // Each waits for the reader; their number is seen there.
    while node.cluster.reads_plans.receiver_count() < PLANS_MAX {
        tokio::task::yield_now().await;
    }
    let status = validate().await.unwrap_err();
    assert_eq!((status.code(), status.get_details_error_info().unwrap().reason.as_str()), (Code::Unavailable, "BUSY"));
    node.client.get_plan(GetPlanRequest {}).await.expect("the plan in force can be had all the same");
    node.cluster.reads_plans.send_replace(true);
    for answer in waiting {
        assert!(answer.await.unwrap().unwrap().into_inner().valid);
    }
    validate().await.expect("there is room again");
}
