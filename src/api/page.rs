//! Lists in pages (AIP-158): a page goes on after a name, so that what comes and goes meanwhile shifts nothing.

use tonic::Status;

use super::refusal::bad_field;

/// The most entries of one page, and how many there are when nothing is said.
pub const PAGE_SIZE_MAX: usize = 1000;

/// Which part of a list is wanted.
pub(super) struct Page<'a> {
    size: usize,
    after: &'a str,
}

impl<'a> Page<'a> {
    /// Reads the two fields; `usual` is the size when none is given.
    ///
    /// # Errors
    /// The size is above [`PAGE_SIZE_MAX`].
    pub(super) fn read(size: u32, token: &'a str, usual: usize) -> Result<Self, Status> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > PAGE_SIZE_MAX {
            return Err(bad_field("page_size", format!("is {size}; at most {PAGE_SIZE_MAX}")));
        }
        Ok(Self { size: if size == 0 { usual } else { size }, after: token })
    }

    /// The place that it goes on after; empty: the beginning.
    pub(super) const fn after(&self) -> &str {
        self.after
    }

    /// The page of a list that is in the order of `key`, and the token of the next one.
    pub(super) fn of<T>(&self, list: impl IntoIterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
        self.take(list.into_iter().filter(|item| self.after.is_empty() || key(item).as_str() > self.after), &key)
    }

    /// The first of what is left of a list in any order.
    pub(super) fn take<T>(&self, rest: impl Iterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let mut rest = rest.peekable();
        let page: Vec<T> = rest.by_ref().take(self.size).collect();
        let next = match (rest.peek(), page.last()) {
            (Some(_), Some(last)) => key(last),
            _ => String::new(),
        };
        (page, next)
    }
}

/// The end of a resource name: `us-east-1` of `regions/us-east-1`; the end alone is taken, too.
///
/// # Errors
/// The field is empty.
pub(super) fn end_of<'a>(field: &str, name: &'a str, collection: &str) -> Result<&'a str, Status> {
    let end = name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
    if end.is_empty() { Err(bad_field(field, format!("is empty; write {collection}/NAME"))) } else { Ok(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_list_once_while_it_changes() {
        let names = |list: &[&str], token: &str| {
            let (page, next) = Page::read(2, token, 9).unwrap().of(list.iter().map(|name| (*name).to_owned()), Clone::clone);
            (page.join(" "), next)
        };
        assert_eq!(names(&["a", "b", "c", "d", "e"], ""), ("a b".to_owned(), "b".to_owned()));
        assert_eq!(names(&["a", "c", "d", "e"], "b"), ("c d".to_owned(), "d".to_owned()), "b left");
        assert_eq!(names(&["a", "c", "d", "e"], "d"), ("e".to_owned(), String::new()));
        assert_eq!(names(&["a", "b"], ""), ("a b".to_owned(), String::new()));
        assert!(Page::read(1001, "", 9).is_err());
    }

    #[test]
    fn names_are_taken_with_and_without_their_collection() {
        assert_eq!(end_of("name", "regions/us", "regions").unwrap(), "us");
        assert_eq!(end_of("name", "us", "regions").unwrap(), "us");
        assert_eq!(end_of("name", "endpoints/api/us/1.2.3.4:80", "endpoints").unwrap(), "api/us/1.2.3.4:80");
        assert!(end_of("name", "regions/", "regions").is_err() && end_of("name", "", "regions").is_err());
    }
}
