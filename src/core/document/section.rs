//! One table per section: it is the type, the decoder, the schema and the documentation of the keys.

/// Declares a section of a document.
///
/// ```
/// # use std::time::Duration;
/// portolan_core::section! {
///     /// How an endpoint is probed.
///     pub struct Example {
///         /// Between probes.
///         interval: Duration where (Duration::from_millis(100)..=Duration::from_secs(3600)) = Duration::from_secs(30),
///         /// What is asked for. A key that is a word of Rust stands in brackets.
///         ["type"] kind: Option<portolan_core::document::Text> = None,
///         /// Without a default: a key that must be there.
///         port: u16,
///     }
/// }
/// ```
#[macro_export]
macro_rules! section {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@range $reader:ident $node:ident $value:expr) => { $value };
    (@range $reader:ident $node:ident $value:expr, $range:expr) => { { let value = $value; $reader.check_range($node, value, &$range) } };
    (@bounds $ty:ty) => { None };
    (@bounds $ty:ty, $range:expr) => { Some($crate::document::bounds::<$ty, _>(&$range)) };
    (@absent) => { None };
    (@absent $default:expr) => { Some($default) };
    (
        $(#[doc = $doc:expr])*
        $(#[derive($($derive:ident),*)])?
        pub struct $name:ident {
            $( $(#[doc = $field_doc:expr])* $([$key:literal])? $field:ident : $ty:ty $(where ($range:expr))? $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq $(, $($derive),*)?)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $ty, )*
        }

        impl $name {
            /// The keys of this section.
            pub const KEYS: &[&str] = &[$( $crate::section!(@key $field $($key)?) ),*];
        }

        impl $crate::document::Decode for $name {
            fn decode(reader: &mut $crate::document::Reader<'_, '_>, node: $crate::document::NodeId) -> Option<Self> {
                #![allow(unused_variables, reason = "a section may have no keys")]
                $( let mut $field: Option<Option<$ty>> = None; )*
                let mut whole = true;
                for (key_node, value_node) in reader.map(node, "a section")? {
                    let Some(key) = reader.key(key_node) else { whole = false; continue };
                    $(
                        if key == $crate::section!(@key $field $($key)?) {
                            if $field.is_some() {
                                reader.duplicate_key(key_node);
                                whole = false;
                            } else {
                                let value = <$ty as $crate::document::Decode>::decode(reader, value_node);
                                $field = Some($crate::section!(@range reader value_node value $(, $range)?));
                            }
                            continue;
                        }
                    )*
                    reader.unknown_key(key_node, Self::KEYS);
                    whole = false;
                }
                $(
                    if $field.is_none() {
                        $field = $crate::section!(@absent $(Some($default))?);
                        if $field.is_none() {
                            reader.missing_key(node, $crate::section!(@key $field $($key)?), concat!($($field_doc),*));
                        }
                    }
                )*
                let section = Self { $( $field: $field??, )* };
                whole.then_some(section)
            }

            fn schema(schemas: &mut $crate::document::Schemas) -> serde_json::Value {
                #[allow(unused_variables, reason = "a section may have no keys")]
                schemas.section(stringify!($name), concat!($($doc),*), |schemas| vec![$(
                    $crate::document::Field {
                        key: $crate::section!(@key $field $($key)?),
                        docs: concat!($($field_doc),*),
                        schema: <$ty as $crate::document::Decode>::schema(schemas),
                        default: $crate::section!(@absent $(<$ty as $crate::document::Decode>::to_json(&$default))?),
                        range: $crate::section!(@bounds $ty $(, $range)?),
                    },
                )*])
            }

            fn to_json(&self) -> serde_json::Value {
                #[allow(unused_mut, reason = "a section may have no keys")]
                let mut section = serde_json::Map::new();
                $(
                    $crate::document::put(&mut section, $crate::section!(@key $field $($key)?), $crate::document::Decode::to_json(&self.$field));
                )*
                serde_json::Value::Object(section)
            }
        }
    };
}

/// Declares a closed set of words of a document.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:expr])*
        pub enum $name:ident ($what:literal) {
            $( $(#[doc = $variant_doc:expr])* $variant:ident = $word:literal ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[doc = $variant_doc])* $variant, )*
        }

        impl $name {
            /// As it is written.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )*
                }
            }
        }

        impl $crate::document::Word for $name {
            const WHAT: &'static str = $what;
            const EXAMPLES: &'static str = concat!("one of:" $(, " ", $word)*);
            const WORDS: &'static [&'static str] = &[$($word),*];

            fn read(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err(concat!("is not ", $what).to_owned()),
                }
            }

            fn show(&self) -> String {
                self.word().to_owned()
            }

            fn suggest(text: &str) -> Option<String> {
                $crate::document::nearest(text, Self::WORDS.iter().copied()).map(|word| format!("did you mean `{word}`?"))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
