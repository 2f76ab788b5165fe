//! Small pieces of text.

use std::time::Duration;

use portolan_core::{
    model::{time::Timestamp, units::Share},
    node::report::Moment,
};

/// One line without control characters, in ASCII: what a server says must not move the cursor, nor break a table.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' || c == '\n' {
                ' '
            } else if (' '..='~').contains(&c) {
                c
            } else {
                '?'
            }
        })
        .collect()
}

/// The same for several lines; line ends stay.
pub(in crate::cli) fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// `2026-11-22 03:03:20Z`.
pub(in crate::cli) fn instant(at: Timestamp) -> String {
    at.to_string().replace('T', " ")
}

/// `03:03:20Z`, where the day is known.
pub(in crate::cli) fn clock(at: Timestamp) -> String {
    at.to_string().split_once('T').map_or_else(String::new, |(_, clock)| clock.to_owned())
}

/// What stands above an answer from the history: which moment was asked for, whose history says so, and what may be other than it was.
pub(in crate::cli) fn moment(moment: &Moment) -> String {
    let mut text = format!("as of {}, by the history of {}\n", instant(moment.asked), plain(&moment.node));
    for note in &moment.notes {
        text.push_str(&format!("! {}\n", plain(note)));
    }
    text
}

/// `1m40s`, `3h05m`, `12d`: short enough for a column.
pub(in crate::cli) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A share in whole percent; a trace of something is not nothing.
pub(in crate::cli) fn percent(share: Share) -> String {
    match share.points() {
        0 => "0%".to_owned(),
        1..50 => "<1%".to_owned(),
        points => format!("{}%", (points + 50) / 100),
    }
}

/// At most `width` characters, the end replaced by `..` where something is cut.
pub(in crate::cli) fn cut(text: &str, width: usize) -> String {
    if text.len() <= width { text.to_owned() } else { format!("{}..", text[..width.saturating_sub(2)].trim_end()) }
}

/// The same for names, which often differ at their ends: the middle is replaced.
pub(in crate::cli) fn cut_middle(name: &str, width: usize) -> String {
    if name.len() <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(2);
    let tail = kept / 2;
    format!("{}..{}", &name[..kept - tail], &name[name.len() - tail..])
}

/// Broken between words at `width`; further lines begin with `indent`. A word longer than a line is cut.
pub(in crate::cli) fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if column > indent.len() && column + 1 + word.len() > width {
            wrapped.push('\n');
            column = 0;
        }
        if column == 0 && !wrapped.is_empty() {
            wrapped.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        let word = cut(word, width - indent.len());
        column += word.len();
        wrapped.push_str(&word);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_masked() {
        assert_eq!(plain("a\x1b[2J\u{202e}b\nc"), "a?[2J?b c");
        assert_eq!(lines("a\n\x07b\n"), "a\n?b\n");
    }

    #[test]
    fn ages_are_short() {
        let shown = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([shown(0), shown(100), shown(11_100), shown(172_800)], ["0s", "1m40s", "3h05m", "2d"]);
    }

    #[test]
    fn traces_are_not_nothing() {
        let shown = |points| percent(Share::basis_points(points));
        assert_eq!([shown(0), shown(1), shown(49), shown(50), shown(7449), shown(10_000)], ["0%", "<1%", "<1%", "1%", "74%", "100%"]);
    }

    #[test]
    fn names_keep_both_ends() {
        assert_eq!([cut_middle("abcdefghij-01", 9), cut_middle("abc", 3)], ["abcd..-01", "abc"]);
        assert_eq!(cut("abcdefghij", 5), "abc..");
    }

    #[test]
    fn long_text_breaks_between_words_and_stays_inside() {
        assert_eq!(wrap("aa bb cc dd", 6, " "), "aa bb\n cc dd");
        assert_eq!(wrap("", 6, " "), "");
        for width in 10..40 {
            let text = wrap("one two three seventeen thousand and-a-very-long-word-that-fits-nowhere-at-all end", width, "  ");
            assert!(text.lines().all(|line| line.len() <= width), "{width}: {text}");
        }
    }
}
