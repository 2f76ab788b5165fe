//! What to do about an error: the rule and the way around it for a refusal, the likely cause and first fix for a control path that is shut.

use portolan_core::model::time::Timestamp;

use super::{Exit, Failure, certificate};
use crate::{
    api::refusal::Refusal,
    client::{Attempt, Cause, Client, ClientError, Target},
};

/// A refusal: what, by which rule, the next step, and how to overrule it where that is possible.
pub(super) fn refused(refusal: &Refusal, exit: Exit) -> String {
    let mut text = if exit == Exit::Refused { format!("refused: {refusal}") } else { refusal.to_string() };
    if !refusal.remedy.is_empty() {
        text.push_str(&format!("\n  next: {}", refusal.remedy));
    }
    // Some remedies name the way around themselves.
    if !refusal.overrule.is_empty() && !refusal.remedy.contains("--override") {
        text.push_str(&format!("\n  or overrule it, which audit shows: --override {} --reason \"...\"", refusal.overrule));
    }
    text
}

/// Connects, or says what was tried and what is likely wrong.
pub(super) async fn connect(target: &Target, now: Timestamp) -> Result<Client, Failure> {
    Client::connect(target).await.map_err(|error| failure(&error, target, now))
}

/// A connection that was not made, with every address tried and the first fix that the causes point to.
pub(super) fn failure(error: &ClientError, target: &Target, now: Timestamp) -> Failure {
    let mut failure = Failure::new(Exit::from(error), error);
    if let ClientError::Unreachable(attempts) = error {
        for fix in own_certificate(target, now).into_iter().chain(fixes(attempts)) {
            failure.message.push_str(&format!("\nfirst fix: {fix}"));
        }
    }
    failure
}

/// What is wrong with the certificate that the caller shows.
fn own_certificate(target: &Target, now: Timestamp) -> Option<String> {
    let file = &target.tls.as_ref()?.cert_file;
    let shown = certificate::read(file).ok()?;
    let file = file.display();
    if shown.end <= now {
        return Some(format!("your certificate `{file}` expired at {}; get a new one, or `portolan pki issue` makes one", shown.end));
    }
    (shown.begin > now)
        .then(|| format!("your certificate `{file}` is valid from {} only, and here it is {now}: is this clock right?", shown.begin))
}

/// What the other side, or our own judgement of it, said about certificates; each once.
fn fixes(attempts: &[Attempt]) -> Vec<String> {
    const KNOWN: [(&str, &str); 9] = [
        ("alert: CertificateExpired", "the daemon says that your certificate has expired; compare both clocks, then get a new one"),
        ("alert: CertificateRequired", "the daemon wants to know you: give a client certificate by `tls` in --config, or a --context"),
        ("alert: UnknownCA", "the daemon does not know the authority of your certificate; get one by the authority in its `tls.ca_file`"),
        ("alert: DecryptError", "your certificate is by another authority of the same name as the daemon's; get one by its `tls.ca_file`"),
        ("alert: BadCertificate", "the daemon cannot use your certificate; `portolan check --pre` looks at the files of a node config"),
        ("certificate expired", "the daemon's certificate has expired: renew it there, it is read again at once; or this clock is wrong"),
        ("not valid yet", "the daemon's certificate is not valid yet: one of the two clocks is wrong"),
        (
            "BadSignature",
            "the daemon's certificate is by another authority that has the same name as that in `tls.ca_file` here; get the right one",
        ),
        ("UnknownIssuer", "the daemon's certificate is by an authority that `tls.ca_file` here does not hold; is this the right cluster?"),
    ];
    let mut found = Vec::new();
    for Attempt { cause, .. } in attempts {
        let Cause::Tls(problem) = cause else { continue };
        let known = KNOWN.iter().find(|(part, _)| problem.contains(part)).map(|(_, fix)| (*fix).to_owned());
        found.extend(known.filter(|fix| !found.contains(fix)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_of_tls_has_its_fix_once() {
        let attempt = |problem: &str| Attempt { address: "use1:8443".to_owned(), cause: Cause::Tls(problem.to_owned()) };
        let causes = [
            attempt("invalid peer certificate: UnknownIssuer"),
            attempt("invalid peer certificate: UnknownIssuer"),
            attempt("received fatal alert: CertificateExpired"),
            Attempt { address: "euw1:8443".to_owned(), cause: Cause::Refused },
        ];
        let fixes = fixes(&causes);
        assert_eq!(fixes.len(), 2, "{fixes:?}");
        assert!(fixes[0].contains("right cluster") && fixes[1].contains("your certificate has expired"), "{fixes:?}");
    }

    #[test]
    fn a_refusal_names_its_rule_the_next_step_and_the_way_around() {
        let refusal = Refusal {
            code: tonic::Code::FailedPrecondition,
            reason: "MIN_HEALTHY_REGIONS".to_owned(),
            message: "service api would keep 1 region".to_owned(),
            remedy: "wait".to_owned(),
            overrule: "min_healthy_regions".to_owned(),
        };
        assert_eq!(
            refused(&refusal, Exit::Refused),
            "refused: service api would keep 1 region [MIN_HEALTHY_REGIONS]\n  next: wait\n  or overrule it, which audit shows: --override \
             min_healthy_regions --reason \"...\""
        );
    }
}
