//! Credentials of a store, from the text of a secret: in the form of the `credentials` file that all tools for S3 read.
//!
//! ```text
//! aws_access_key_id = AKIAIOSFODNN7EXAMPLE
//! aws_secret_access_key = ...
//! aws_session_token = ...                     # if there is one
//! ```

use rusty_s3::Credentials;

use crate::backup::LookError;

/// Reads credentials. What the text holds is in no error.
///
/// # Errors
/// What is missing, or stands twice.
pub fn credentials(text: &str) -> Result<Credentials, LookError> {
    let wrong = |problem: &str| Err(LookError::Credentials(problem.to_owned()));
    let (mut key, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        // Of a profile's name nothing depends: there is one in the file.
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return wrong("a line is not of the form NAME = VALUE");
        };
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => &mut key,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut token,
            // `region` and its like, of other tools.
            _ => continue,
        };
        if place.replace(value.trim().to_owned()).is_some() {
            return wrong("a name stands twice; keep one profile in the file");
        }
    }
    let (Some(key), Some(secret)) = (key.filter(|key| !key.is_empty()), secret.filter(|secret| !secret.is_empty())) else {
        return wrong("aws_access_key_id or aws_secret_access_key is missing");
    };
    Ok(match token.filter(|token| !token.is_empty()) {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_other_tools_is_read_and_never_shown() {
        let read = credentials("[backups]\naws_access_key_id = AKIA\nAWS_SECRET_ACCESS_KEY=hush=hush\nregion = eu-west-1\n").unwrap();
        assert_eq!((read.key(), read.secret(), read.token()), ("AKIA", "hush=hush", None));
        let read = credentials("aws_access_key_id=a\naws_secret_access_key=b\n# c\naws_session_token=c").unwrap();
        assert_eq!(read.token(), Some("c"));
        for bad in [
            "",
            "hush",
            "aws_access_key_id=hush",
            "aws_access_key_id=\naws_secret_access_key=hush",
            "aws_secret_access_key=hush\naws_secret_access_key=hush",
        ] {
            let error = credentials(bad).unwrap_err().to_string();
            assert!(error.starts_with("credentials: ") && !error.contains("hush"), "{error}");
        }
    }
}
