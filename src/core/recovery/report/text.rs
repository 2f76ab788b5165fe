//! Sections as Markdown and as HTML. Every text that comes from outside goes through one of two functions here, and is no markup behind it.
//!
//! Source: CommonMark 0.31 section 2.4 (any ASCII punctuation may be escaped by a backslash), GitHub Flavored Markdown section 6.9 (autolinks),
//! the HTML standard section 13.1.2.3 (what must be escaped in text and quoted attributes).

use std::fmt::Write as _;

use super::sections::{Body, Section};

/// One line without what moves a cursor or turns the direction of writing.
fn line(text: &str) -> impl Iterator<Item = char> {
    let is_hidden =
        |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().map(move |c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_hidden(c) => '\u{fffd}',
        c => c,
    })
}

/// Text that Markdown shows as it is, in a cell of a table too. It never begins a line, so that only what counts inside of one is escaped:
/// times, brackets of times and names stay readable. Links that are found without brackets break at their colon, period or at sign.
fn markdown_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    let mut signs = line(text).peekable();
    while let Some(c) = signs.next() {
        let next = signs.peek().copied().unwrap_or(' ');
        let is_quiet = match c {
            ',' | ';' | '(' | ')' | '%' | '/' | '\'' | '"' | '?' | '=' | '-' => true,
            ':' => next != '/',
            '.' => before.is_ascii_digit() || next == ' ',
            '_' => before.is_alphanumeric() && next.is_alphanumeric(),
            _ => false,
        };
        if c.is_ascii_punctuation() && !is_quiet {
            escaped.push('\\');
        }
        escaped.push(c);
        before = c;
    }
    escaped
}

/// Text for HTML, between tags and in quoted attributes.
fn html_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in line(text) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A heading of the first level, then a section each.
pub(super) fn markdown(title: &str, sections: &[Section]) -> String {
    let mut text = format!("# {}\n", markdown_text(title));
    for Section { title, body } in sections {
        let _ = write!(text, "\n## {}\n\n", markdown_text(title));
        match body {
            Body::Facts(facts) => {
                for (name, value) in facts {
                    let _ = writeln!(text, "- **{}**: {}", markdown_text(name), markdown_text(value));
                }
            }
            Body::Table(headings, rows) => {
                let row =
                    |cells: &mut dyn Iterator<Item = &str>| format!("| {} |\n", cells.map(markdown_text).collect::<Vec<_>>().join(" | "));
                text.push_str(&row(&mut headings.iter().copied()));
                text.push_str(&format!("|{}\n", " --- |".repeat(headings.len())));
                rows.iter().for_each(|cells| text.push_str(&row(&mut cells.iter().map(String::as_str))));
            }
            Body::Nothing(why) => {
                let _ = writeln!(text, "{}", markdown_text(why));
            }
        }
    }
    text
}

/// Nothing is loaded and nothing runs, also where the file is opened from a web server that says otherwise.
const HEAD: &str = "<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n\
    <style>body{font:16px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
    th,td{border:1px solid #888;padding:.2em .6em;text-align:left;vertical-align:top}dt{font-weight:bold}</style>\n";

/// A whole document.
pub(super) fn html(title: &str, sections: &[Section]) -> String {
    let title = html_text(title);
    let mut text =
        format!("<!doctype html>\n<html lang=\"en\">\n<head>\n{HEAD}<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n");
    for Section { title, body } in sections {
        let _ = writeln!(text, "<h2>{}</h2>", html_text(title));
        match body {
            Body::Facts(facts) => {
                text.push_str("<dl>\n");
                for (name, value) in facts {
                    let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", html_text(name), html_text(value));
                }
                text.push_str("</dl>\n");
            }
            Body::Table(headings, rows) => {
                let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
                    let cells: String = cells.map(|cell| format!("<{tag}>{}</{tag}>", html_text(cell))).collect();
                    format!("<tr>{cells}</tr>\n")
                };
                text.push_str("<table>\n");
                text.push_str(&cells("th", &mut headings.iter().copied()));
                rows.iter().for_each(|row| text.push_str(&cells("td", &mut row.iter().map(String::as_str))));
                text.push_str("</table>\n");
            }
            Body::Nothing(why) => {
                let _ = writeln!(text, "<p>{}</p>", html_text(why));
            }
        }
    }
    text.push_str("</body>\n</html>\n");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_people_write_is_markup() {
        assert_eq!(html_text("<script>alert('x')</script> \"&\n"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;&amp; ");
        assert_eq!(markdown_text("a|b `c` *d* [e](http://f)"), "a\\|b \\`c\\` \\*d\\* \\[e\\](http\\://f)");
        assert_eq!(markdown_text("<img src=x>"), "\\<img src=x\\>");
        assert_eq!(markdown_text("www.example.org a@b.c"), "www\\.example\\.org a\\@b\\.c");
        assert_eq!(markdown_text("# - + 1\u{202e}\u{1b}"), "\\# - \\+ 1\u{fffd}\u{fffd}");
        assert_eq!(markdown_text("_a_ RPO_GATE: it is so."), "\\_a\\_ RPO_GATE: it is so.");
        assert_eq!(markdown_text("2026-11-22 03:03:20Z, 1.5s, eu-west-1"), "2026-11-22 03:03:20Z, 1.5s, eu-west-1");
    }

    proptest! {
        /// Taken back, it is what was put in; and no sign of markup stands without its escape.
        #[test]
        fn escapes_lose_nothing_and_leave_nothing(text in "[ -~]{0,60}") {
            let (marked, paged) = (markdown_text(&text), html_text(&text));
            let mut plain = String::new();
            let mut signs = marked.chars();
            while let Some(c) = signs.next() {
                if c == '\\' {
                    plain.extend(signs.next());
                    continue;
                }
                prop_assert!(!"`*[]{}<>#+|~&!@$^\\".contains(c), "{marked}");
                plain.push(c);
            }
            prop_assert_eq!(&plain, &text);
            prop_assert!(!paged.contains(['<', '>', '"', '\'']));
            let back = paged.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(back, text);
        }
    }
}
