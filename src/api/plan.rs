//! `PlanService`: the plan in force, and putting another one in force, whole or not at all.

use std::{collections::BTreeMap, sync::Arc};

use portolan_core::cluster::{Change, PutPlan, limits};
use similar::TextDiff;
use tonic::{Request, Response, Status};

use super::{
    convert::{freshness_out, problem_out, time_out},
    mutation::{caller, envelope, propose},
    proto::{
        ApplyPlanRequest, ApplyPlanResponse, DiffPlanRequest, DiffPlanResponse, GetPlanRequest, GetPlanResponse, PlanDocument,
        ValidatePlanRequest, ValidatePlanResponse, diff_plan_response::FileDifference, plan_service_server::PlanService,
    },
    refusal::{self, Reason, bad_field},
    source::cluster::{ClusterSource, PlanReading, PlanText, Reach},
};

/// The largest request in octets: the longest plan with its zone files, and their names.
pub const PLAN_OCTETS_MAX: usize = limits::PLAN_TEXT_MAX + limits::ZONE_TEXT_MAX + 256 * 1024;
/// Problems that a refusal carries; `ValidatePlan` gives all. The details of an error travel in headers, which are small.
const PROBLEMS_IN_REFUSAL_MAX: usize = 5;
/// Lines around each difference.
const CONTEXT_LINES: usize = 3;
/// The longest difference of one file, in octets; a longer one is cut at a line.
const DIFFERENCE_OCTETS_MAX: usize = 1024 * 1024;
/// How long two files are compared: afterwards the difference is right, but longer than it could be.
const COMPARE_TIME_MAX: std::time::Duration = std::time::Duration::from_millis(500);

/// The service over a source.
pub struct PlanApi {
    source: Arc<dyn ClusterSource>,
}

impl PlanApi {
    pub(super) fn new(source: Arc<dyn ClusterSource>) -> Self {
        Self { source }
    }

    async fn read(&self, document: Option<PlanDocument>) -> Result<(PlanText, PlanReading), Status> {
        let document = document.ok_or_else(|| bad_field("document", "is not set"))?;
        let zones: BTreeMap<String, String> = document.zone_files.into_iter().collect();
        let bound = |field: &str, n: usize, max: usize, what: &str| {
            if n > max { Err(bad_field(field, format!("has {n} {what}; at most {max} are taken"))) } else { Ok(()) }
        };
        bound("document.text", document.text.len(), limits::PLAN_TEXT_MAX, "octets")?;
        bound("document.zone_files", zones.len(), limits::ZONE_FILES_MAX, "files")?;
        bound("document.zone_files", zones.values().map(String::len).sum(), limits::ZONE_TEXT_MAX, "octets")?;
        let text = PlanText { text: document.text, zones };
        let reading = self.source.read_plan(text.clone()).await.map_err(|error| refusal::cluster(&error))?;
        Ok((text, reading))
    }
}

#[tonic::async_trait]
impl PlanService for PlanApi {
    async fn get_plan(&self, _: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        let standing = self.source.standing().map_err(|error| refusal::cluster(&error))?;
        let plan = standing.state.plan().ok_or_else(|| Reason::NoPlan.status("the cluster has no plan yet", "", &[]))?;
        let PutPlan { revision, digest, text, zones, .. } = &plan.plan;
        let zone_files = zones.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        Ok(Response::new(GetPlanResponse {
            revision: *revision,
            digest: digest.clone(),
            document: Some(PlanDocument { text: text.clone(), zone_files }),
            creator: plan.by.name.clone(),
            create_time: Some(time_out(plan.at)),
            index: plan.index,
            freshness: Some(freshness_out(&standing)),
        }))
    }

    async fn validate_plan(&self, request: Request<ValidatePlanRequest>) -> Result<Response<ValidatePlanResponse>, Status> {
        let (_, reading) = self.read(request.into_inner().document).await?;
        let plan = reading.plan.as_ref();
        Ok(Response::new(ValidatePlanResponse {
            valid: plan.is_some(),
            problems: reading.problems.iter().map(problem_out).collect(),
            revision: plan.map_or(0, |plan| plan.revision),
            digest: plan.map(|plan| plan.digest.clone()).unwrap_or_default(),
        }))
    }

    async fn diff_plan(&self, request: Request<DiffPlanRequest>) -> Result<Response<DiffPlanResponse>, Status> {
        let (text, reading) = self.read(request.into_inner().document).await?;
        let standing = self.source.standing().map_err(|error| refusal::cluster(&error))?;
        let running = standing.state.plan().cloned();
        let same_meaning = running
            .as_ref()
            .zip(reading.plan.as_ref())
            .is_some_and(|(running, other)| running.plan.digest == other.digest && running.plan.zones == other.zones);
        let running_revision = running.as_ref().map_or(0, |running| running.plan.revision);
        let compared = tokio::task::spawn_blocking(move || {
            let nothing = BTreeMap::new();
            let (before, zones) = running.as_ref().map_or(("", &nothing), |running| (running.plan.text.as_str(), &running.plan.zones));
            differences(before, zones, &text)
        });
        let files = compared.await.map_err(|_| refusal::stopping())?;
        let problems = reading.problems.iter().map(problem_out).collect();
        Ok(Response::new(DiffPlanResponse { running_revision, same_meaning, files, problems, freshness: Some(freshness_out(&standing)) }))
    }

    async fn apply_plan(&self, request: Request<ApplyPlanRequest>) -> Result<Response<ApplyPlanResponse>, Status> {
        let caller = caller(&request)?;
        let mut request = request.into_inner();
        let (_, reading) = self.read(request.document.take()).await?;
        let Some(plan) = reading.plan else { return Err(invalid(&reading)) };
        let (revision, digest) = (plan.revision, plan.digest.clone());
        let change = Change::PutPlan(Box::new(PutPlan { expected_revision: request.expected_revision, ..plan }));
        let draft = envelope!(request).draft(&caller, change, None, Reach::Cluster)?;
        let done = propose(&*self.source, draft).await?;
        let problems = reading.problems.iter().map(problem_out).collect();
        Ok(Response::new(ApplyPlanResponse { revision, digest, problems, commit: Some(done.commit) }))
    }
}

/// A plan with errors, refused with the first of them.
fn invalid(reading: &PlanReading) -> Status {
    let errors = || reading.problems.iter().filter(|problem| problem.is_error);
    let shown = errors().take(PROBLEMS_IN_REFUSAL_MAX).map(|problem| {
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        format!("{}:{}: {path}{}", problem.file, problem.line, problem.message)
    });
    let shown: Vec<String> = shown.collect();
    let more = errors().count() - shown.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Reason::PlanInvalid.status(format!("the plan has errors: {}{more}", shown.join("; ")), "document", &[])
}

/// Every file that differs, the document first.
fn differences(before: &str, zones: &BTreeMap<String, String>, after: &PlanText) -> Vec<FileDifference> {
    let names: std::collections::BTreeSet<&String> = zones.keys().chain(after.zones.keys()).collect();
    let text = |zones: &BTreeMap<String, String>, name: &String| zones.get(name).cloned().unwrap_or_default();
    let files = names.into_iter().map(|name| (name.clone(), text(zones, name), text(&after.zones, name)));
    std::iter::once(("plan".to_owned(), before.to_owned(), after.text.clone()))
        .chain(files)
        .filter(|(_, before, after)| before != after)
        .map(|(file, before, after)| {
            let diff = TextDiff::configure().timeout(COMPARE_TIME_MAX).diff_lines(&before, &after);
            let mut unified = diff.unified_diff().context_radius(CONTEXT_LINES).header("in force", "given").to_string();
            if unified.len() > DIFFERENCE_OCTETS_MAX {
                let end = unified.as_bytes()[..DIFFERENCE_OCTETS_MAX].iter().rposition(|octet| *octet == b'\n').unwrap_or(0);
                unified.truncate(end);
                unified.push_str("\n(the rest is cut)\n");
            }
            FileDifference { file, unified }
        })
        .collect()
}

impl From<PlanText> for PlanDocument {
    fn from(plan: PlanText) -> Self {
        Self { text: plan.text, zone_files: plan.zones.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_each_file_and_a_long_one_is_cut_at_a_line() {
        let zones =
            |list: &[(&str, &str)]| list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<BTreeMap<_, _>>();
        let after = PlanText { text: "a\nc\n".to_owned(), zones: zones(&[("same", "x\n"), ("new", "y\n")]) };
        let found = differences("a\nb\n", &zones(&[("same", "x\n"), ("old", "z\n")]), &after);
        let names: Vec<_> = found.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["plan", "new", "old"]);
        assert_eq!(found[0].unified, "--- in force\n+++ given\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert!(found[2].unified.contains("-z\n"));
        let long = PlanText { text: "x".repeat(99).add_line(20_000), zones: BTreeMap::new() };
        let cut = &differences("", &BTreeMap::new(), &long)[0].unified;
        assert!(cut.len() <= DIFFERENCE_OCTETS_MAX + 30 && cut.ends_with("x\n(the rest is cut)\n"));
    }

    trait Lines {
        fn add_line(&self, n: usize) -> String;
    }

    impl Lines for String {
        fn add_line(&self, n: usize) -> String {
            format!("{self}\n").repeat(n)
        }
    }
}
