//! Log lines on stdout: one per decision, not one per loop.

use std::io;

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer as _, fmt::MakeWriter, layer::SubscriberExt as _};

/// Libraries whose information is noise to an operator; a filter may raise each by name. Of the consensus also warnings are: a peer that does
/// not answer makes one per heartbeat, and the daemon says itself who leads, who votes and who is out of reach.
const QUIET: &str = "info,hickory_proto=warn,hickory_server=warn,h2=warn,hyper=warn,hyper_util=warn,openraft=error,opentelemetry=warn,\
                     opentelemetry_sdk=warn,opentelemetry-prometheus=warn,reqwest=warn,rustls=warn,tonic=warn,tower=warn";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line, for collectors.
    #[default]
    Json,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log filter `{filter}`: {problem}; write for example `info` or `info,portolan::probe=debug`")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        problem: String,
    },
    /// Logging was started before in this process.
    #[error("logging is already set up in this process")]
    Twice,
}

/// Starts logging to stdout for the whole process. `filter` is added to the default (`info`, libraries at `warn`); empty: nothing added.
///
/// # Errors
/// [`LogError`]: the filter is wrong, or the process logs already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let subscriber = subscriber(format, filter, io::stdout)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// What [`init`] starts, writing elsewhere.
///
/// # Errors
/// [`LogError::Filter`].
pub fn subscriber<W>(format: LogFormat, filter: &str, writer: W) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = if filter.is_empty() { QUIET.to_owned() } else { format!("{QUIET},{filter}") };
    let directives = EnvFilter::builder().parse(directives);
    let directives = directives.map_err(|error| LogError::Filter { filter: filter.to_owned(), problem: error.to_string() })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    Ok(tracing_subscriber::registry().with(directives).with(layer))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(format, filter, move || writer.clone()).unwrap(), || {
            tracing::info!(region = "us-east-1", "region is down");
            tracing::debug!("detail");
            tracing::info!(target: "h2::codec", "frame");
            tracing::warn!(target: "h2::codec", "broken frame");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn libraries_are_quiet_and_a_filter_adds() {
        let text = logged(LogFormat::Text, "");
        assert_eq!((text.contains("region is down"), text.contains("detail"), text.lines().count()), (true, false, 2), "{text}");
        assert!(text.contains("broken frame"));
        let text = logged(LogFormat::Text, "debug");
        assert_eq!((text.contains("detail"), text.lines().count()), (true, 3), "{text}");
        assert_eq!(logged(LogFormat::Text, "h2=info").lines().count(), 3);
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let text = logged(LogFormat::Json, "");
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&line["message"], &line["region"], &line["level"]), (&"region is down".into(), &"us-east-1".into(), &"INFO".into()));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        assert!(subscriber(LogFormat::Text, "portolan=loud", io::sink).err().unwrap().to_string().contains("`portolan=loud`"));
    }
}
