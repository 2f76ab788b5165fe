//! `portolan pki`: an authority of one's own and certificates by it, so that a cluster with mutual TLS stands in minutes.
//!
//! Names are SPIFFE ids: `spiffe://CLUSTER/node/NAME` for nodes, `spiffe://CLUSTER/agent/NAME` for agents of databases,
//! `spiffe://CLUSTER/ROLE/NAME` for people and programs, to which `auth.roles` gives the role. Whoever has an authority of their own uses that; nothing here is needed at run time.
//! Absent on purpose: revocation. A certificate is short-lived, and a role is taken away in the node config.
//! Source: RFC 5280, SPIFFE X.509-SVID sections 2 to 4.

mod authority;

use std::path::{Path, PathBuf};

use portolan_core::{
    document::Word as _,
    model::{ids::Label, time::Timestamp},
};

use super::{Exit, Failure, Format, Outcome, Terminal, data};
use authority::{Authority, Holder, Issued};

/// Life of a certificate where nothing is said, in days.
const DAYS_USUAL: u16 = 365;
/// What stands before an agent's name in its certificate, where a person's has a role.
const AGENT: &str = "agent";

/// The longest life of a certificate, in days: what outlives the people who made it is nobody's.
const DAYS_MAX: i64 = 825;

#[derive(Debug, clap::Subcommand)]
pub(super) enum PkiVerb {
    /// Make an authority; whoever has its key can name an admin, so keep it off the nodes.
    Init {
        /// The directory for `ca.pem` and `ca.key`; files that are there are never written over.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Name of the cluster, as in the node config; the trust domain of all names.
        #[arg(long, value_name = "NAME", value_parser = trust_domain)]
        cluster: String,
    },
    /// Make a certificate by the authority.
    Issue {
        /// The directory of `pki init`; the certificate is written beside the authority.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// For how many days it is valid.
        #[arg(long, global = true, value_name = "N", default_value_t = DAYS_USUAL, value_parser = clap::value_parser!(u16).range(1..=DAYS_MAX))]
        days: u16,
        /// Write over the files of that name: for a renewal; nodes read them again at once.
        #[arg(long, global = true)]
        replace: bool,
        #[command(subcommand)]
        whom: Whom,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Whom {
    /// For a node: it serves by it, and shows it to other nodes.
    Node {
        /// Its name, as `node` in its config.
        #[arg(value_parser = label)]
        name: String,
        /// The region that it runs in; for the config lines that are printed.
        #[arg(long, value_name = "REGION", value_parser = label)]
        region: String,
        /// Names and addresses by which others reach it, beside its own name.
        #[arg(long, value_name = "HOST", num_args = 1.., value_delimiter = ',')]
        host: Vec<String>,
    },
    /// For the agent beside a database.
    Agent {
        /// Its name, as `agent` in the plan and in its config.
        #[arg(value_parser = label)]
        name: String,
    },
    /// For a person or a program.
    Client {
        /// Its name.
        #[arg(value_parser = label)]
        name: String,
        /// The role; `auth.roles` in the node config must give it, by the line that is printed.
        #[arg(long, value_enum)]
        role: ClientRole,
    },
}

/// Roles that a certificate can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ClientRole {
    /// Reads.
    Viewer,
    /// Drains, holds, freezes.
    Operator,
    /// Approves what may lose data.
    Approver,
    /// Changes plan and membership.
    Admin,
}

impl ClientRole {
    const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

fn label(text: &str) -> Result<String, String> {
    Label::read(text).map(|label| label.to_string()).map_err(|problem| format!("{problem}; write {}", Label::EXAMPLES))
}

/// A name that can be a trust domain too (SPIFFE-ID section 2.1): the characters of labels are all allowed there.
fn trust_domain(text: &str) -> Result<String, String> {
    label(text)
}

pub(super) fn run(verb: &PkiVerb, now: Timestamp, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    match verb {
        PkiVerb::Init { dir, cluster } => init(dir, cluster, now, format, terminal),
        PkiVerb::Issue { dir, days, replace, whom } => {
            let authority = Authority::load(dir).map_err(failed)?;
            let holder = match whom {
                Whom::Node { name, host, .. } => Holder::node(authority.cluster(), name, host),
                Whom::Agent { name } => Holder::client(authority.cluster(), name, AGENT),
                Whom::Client { name, role } => Holder::client(authority.cluster(), name, role.word()),
            };
            let holder = holder.map_err(|problem| Failure::new(Exit::Usage, problem))?;
            let issued = authority.issue(&holder, *days, now, *replace).map_err(failed)?;
            report(dir, authority.cluster(), whom, &holder, &issued, format, terminal)
        }
    }
}

fn failed(problem: String) -> Failure {
    Failure::new(Exit::Error, problem)
}

fn init(dir: &Path, cluster: &str, now: Timestamp, format: Format, terminal: &mut Terminal<'_>) -> Outcome {
    let issued = Authority::create(dir, cluster, now).map_err(failed)?;
    if format.is_data() {
        data(terminal, format, &body(&issued, &format!("spiffe://{cluster}")))?;
        return Ok(Exit::Ok);
    }
    writeln!(terminal.out, "wrote {}   the authority of {cluster}, valid until {}", issued.cert_file.display(), issued.end)?;
    writeln!(terminal.out, "wrote {}   its key, mode 0600: keep it off the nodes, and safe", issued.key_file.display())?;
    let dir = dir.display();
    writeln!(terminal.err, "next: portolan pki issue --dir {dir} node NAME --region REGION --host HOST")?;
    writeln!(terminal.err, "      portolan pki issue --dir {dir} client NAME --role operator")?;
    Ok(Exit::Ok)
}

fn body(issued: &Issued, id: &str) -> serde_json::Value {
    serde_json::json!({
        "cert_file": issued.cert_file.display().to_string(),
        "key_file": issued.key_file.display().to_string(),
        "spiffe": id,
        "end": issued.end,
    })
}

/// What was written, and the lines that use it.
fn report(
    dir: &Path,
    cluster: &str,
    whom: &Whom,
    holder: &Holder,
    issued: &Issued,
    format: Format,
    terminal: &mut Terminal<'_>,
) -> Outcome {
    if format.is_data() {
        data(terminal, format, &body(issued, holder.id()))?;
        return Ok(Exit::Ok);
    }
    let (cert_file, key_file) = (issued.cert_file.display(), issued.key_file.display());
    let ca_file = dir.join(authority::CERT_FILE);
    let ca_file = ca_file.display();
    writeln!(terminal.out, "wrote {cert_file}   {}, valid until {}", holder.id(), issued.end)?;
    writeln!(terminal.out, "wrote {key_file}   its key, mode 0600")?;
    match whom {
        Whom::Node { name, region, .. } => writeln!(
            terminal.out,
            "\n# Into the node config:\nnode: {name}\nregion: {region}\ncluster: {cluster}\ntls: {{ ca_file: {ca_file}, cert_file: {cert_file}, \
             key_file: {key_file} }}"
        )?,
        Whom::Agent { name } => writeln!(
            terminal.out,
            "\n# Into the agent config:\nagent: {name}\ntls: {{ ca_file: {ca_file}, cert_file: {cert_file}, key_file: {key_file} }}"
        )?,
        Whom::Client { name, role } => {
            writeln!(
                terminal.out,
                "\n# Into the node config of every node, below `auth`:\n  roles:\n    - {{ role: {}, spiffe: \"{}\" }}",
                role.word(),
                holder.id()
            )?;
            writeln!(
                terminal.out,
                "\n# Into the contexts of {name}, with addresses of your own:\n  {cluster}:\n    addresses: [HOST:8443]\n    tls: {{ ca_file: \
                 {ca_file}, cert_file: {cert_file}, key_file: {key_file} }}"
            )?;
        }
    }
    Ok(Exit::Ok)
}
