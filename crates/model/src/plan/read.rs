//! From a spanned TOML document to typed tables, keeping on after an error so that one run reports
//! as many as possible.
//!
//! A table type is declared once, by [`table!`]: its fields are its known keys. A value that cannot
//! be read reports an error and yields `None`; nothing here panics.

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::plan::error::{PlanError, suggest};
use crate::span::{At, Span};

/// A value of the document.
pub(crate) type Node<'a> = &'a Spanned<DeValue<'a>>;

/// Named entries of a top-level table, in the order of the text; the span is the name's.
pub type Map<T> = IndexMap<String, At<T>>;

/// Collects errors while one text is read.
#[derive(Default)]
pub(crate) struct Reader {
    /// Index of the text.
    pub source: usize,
    pub errors: Vec<PlanError>,
}

impl Reader {
    pub fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(self.source, range)
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut PlanError {
        let at = self.errors.len();
        self.errors.push(PlanError::new(span, message));
        &mut self.errors[at]
    }

    pub fn error_with(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(PlanError::new(span, message).help(help));
    }

    /// Reports that `node` is of another type than `wanted`.
    pub fn wrong_type<T>(&mut self, node: Node<'_>, wanted: &str) -> Option<T> {
        let span = self.span(node.span());
        let found = describe(node.as_ref());
        let help = match (wanted, node.as_ref()) {
            ("a text", DeValue::Integer(number)) => format!("put it in quotes: \"{number}\""),
            ("a text", DeValue::Float(number)) => format!("put it in quotes: \"{number}\""),
            ("a text", DeValue::Boolean(value)) => format!("put it in quotes: \"{value}\""),
            ("a text", DeValue::Datetime(date)) => format!("put it in quotes: \"{date}\""),
            _ => format!("write {wanted}; `lifeboat schema` says what every key holds"),
        };
        self.error_with(span, format!("expected {wanted}, found {found}"), help);
        None
    }

    pub fn fields<'a>(&mut self, node: Node<'a>, what: &'static str) -> Option<Fields<'a>> {
        match node.as_ref() {
            DeValue::Table(table) => Some(Fields::new(table, self.span(node.span()), what)),
            _ => self.wrong_type(node, &format!("a table ({what})")),
        }
    }
}

/// A value in words, for "found …".
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the text {text:?}"),
        DeValue::String(_) => "a long text".to_owned(),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Something that can be read from a value of the document.
pub(crate) trait Read: Sized {
    /// Reads the value; `None` means that an error was reported.
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self>;
    /// What an absent key means; `None` makes the key required.
    fn absent() -> Option<Self> {
        None
    }
}

/// The keys of one table, taken one by one; what is left over is unknown.
pub(crate) struct Fields<'a> {
    table: &'a DeTable<'a>,
    pub span: Span,
    what: &'static str,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn new(table: &'a DeTable<'_>, span: Span, what: &'static str) -> Fields<'a> {
        Fields { table, span, what, known: Vec::new() }
    }

    pub fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub fn take<T: Read>(&mut self, key: &'static str, reader: &mut Reader) -> Option<T> {
        if let Some(node) = self.get(key) {
            return T::read(node, reader);
        }
        let value = T::absent();
        if value.is_none() {
            reader.error(self.span, format!("{} needs `{key}`", self.what));
        }
        value
    }

    /// Which of `keys` are there: key and its span.
    pub fn present(&mut self, keys: &[&'static str], reader: &Reader) -> Vec<(&'static str, Span)> {
        self.known.extend(keys);
        let mut found: Vec<_> = keys
            .iter()
            .filter_map(|key| {
                let (name, _) = self.table.get_key_value(*key)?;
                Some((*key, reader.span(name.span())))
            })
            .collect();
        found.sort_by_key(|(_, span)| span.start);
        found
    }

    /// The one of `keys` that is there; none or several is an error.
    pub fn one_of(
        &mut self,
        keys: &[&'static str],
        reader: &mut Reader,
    ) -> Option<(&'static str, Node<'a>)> {
        let found = self.present(keys, reader);
        let list = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        match found[..] {
            [(key, _)] => Some((key, self.table.get(key)?)),
            [] => {
                reader.error_with(
                    self.span,
                    format!("{} does not say what it is", self.what),
                    format!("give exactly one of {list}"),
                );
                None
            }
            [(first, at), (second, span), ..] => {
                let error = reader
                    .error(span, format!("{} cannot be both `{first}` and `{second}`", self.what));
                error.help = Some(format!("give exactly one of {list}"));
                error.related = Some((at, format!("`{first}` is here")));
                None
            }
        }
    }

    /// Reports every key that was not asked for.
    pub fn finish(self, reader: &mut Reader) {
        for name in self.table.keys() {
            let key: &str = name.get_ref();
            if !self.known.contains(&key) {
                let help = suggest(key, "known keys", self.known.iter().copied());
                let span = reader.span(name.span());
                reader.error_with(span, format!("unknown key `{key}` in {}", self.what), help);
            }
        }
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for At<T> {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let span = reader.span(node.span());
        T::read(node, reader).map(|value| At::new(value, span))
    }

    fn absent() -> Option<Self> {
        T::absent().map(|value| At::new(value, Span::default()))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Array(list) = node.as_ref() else {
            return reader.wrong_type(node, "a list");
        };
        let items: Vec<Option<T>> = list.iter().map(|item| T::read(item, reader)).collect();
        items.into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
}

/// A list; a single value may be written without brackets.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Many<T>(pub Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many(Vec::new())
    }
}

impl<T> std::ops::Deref for Many<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: Read> Read for Many<T> {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        match node.as_ref() {
            DeValue::Array(_) => Vec::<T>::read(node, reader).map(Many),
            _ => T::read(node, reader).map(|value| Many(vec![value])),
        }
    }

    fn absent() -> Option<Self> {
        Some(Many::default())
    }
}

impl<T: Read> Read for Map<T> {
    fn read(node: Node<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Table(table) = node.as_ref() else {
            return reader.wrong_type(node, "a table of named entries");
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut whole = true;
        let mut map = Map::new();
        for (name, value) in entries {
            let span = reader.span(name.span());
            whole &= valid_name(name.get_ref(), span, reader);
            match T::read(value, reader) {
                Some(read) => {
                    map.insert(name.get_ref().to_string(), At::new(read, span));
                }
                None => whole = false,
            }
        }
        whole.then_some(map)
    }

    fn absent() -> Option<Self> {
        Some(Map::new())
    }
}

/// Names stand in paths of stored objects and in tags, so they are plain.
pub(crate) fn valid_name(name: &str, span: Span, reader: &mut Reader) -> bool {
    const LONGEST: usize = 100;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let first = name.chars().next();
    let message = if name.is_empty() {
        "a name cannot be empty".to_owned()
    } else if name.len() > LONGEST {
        format!("the name is longer than {LONGEST} characters")
    } else if !name.chars().all(plain) || !first.is_some_and(|c| c.is_ascii_alphanumeric()) {
        format!("`{}` cannot be a name", name.escape_default())
    } else {
        return true;
    };
    let help = "a name begins with a letter or digit and has only letters, digits, `-` and `_`";
    reader.error_with(span, message, help);
    false
}

/// Name of a key, from the name of the field that holds it.
pub(crate) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a table of the plan: the fields are its known keys. `one` reads a choice of which
/// exactly one key must be given; `validate` looks at the whole.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $what:literal pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)?
        }
        $( one $one:ident : $one_ty:ty ; )?
        $( validate $validate:path ; )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
            $(
                /// What it is: exactly one of the choices.
                #[serde(flatten)]
                pub $one: $one_ty,
            )?
        }

        impl $crate::plan::read::Read for $name {
            fn read(
                node: $crate::plan::read::Node<'_>,
                reader: &mut $crate::plan::read::Reader,
            ) -> Option<Self> {
                let mut fields = reader.fields(node, $what)?;
                $(
                    let $field =
                        fields.take($crate::plan::read::key_name(stringify!($field)), reader);
                )*
                $( let $one = <$one_ty>::choose(&mut fields, reader); )?
                let span = fields.span;
                fields.finish(reader);
                let value = $name { $( $field: $field?, )* $( $one: $one?, )? };
                let _ = span;
                $( $validate(&value, span, reader); )?
                Some(value)
            }
        }
    };
}

/// Declares a choice of which exactly one key must be given.
macro_rules! one_of {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident ( $ty:ty ) = $key:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $key)] $variant($ty), )*
        }

        impl $name {
            /// The keys of which exactly one must be given.
            pub const KEYS: &'static [&'static str] = &[$($key),*];

            /// The key that was given.
            pub fn key(&self) -> &'static str {
                match self { $( $name::$variant(_) => $key, )* }
            }

            pub(crate) fn choose(
                fields: &mut $crate::plan::read::Fields<'_>,
                reader: &mut $crate::plan::read::Reader,
            ) -> Option<Self> {
                let (key, node) = fields.one_of(Self::KEYS, reader)?;
                match key {
                    $( $key => <$ty as $crate::plan::read::Read>::read(node, reader).map($name::$variant), )*
                    _ => None,
                }
            }
        }
    };
}

/// Declares a list of accepted words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $what:literal pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )*
        }

        impl $name {
            /// The accepted words.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// As written in the plan.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }
        }

        impl $crate::plan::read::Read for $name {
            fn read(
                node: $crate::plan::read::Node<'_>,
                reader: &mut $crate::plan::read::Reader,
            ) -> Option<Self> {
                let text = <String as $crate::plan::read::Read>::read(node, reader)?;
                match text.as_str() {
                    $( $word => Some($name::$variant), )*
                    other => {
                        let span = reader.span(node.span());
                        let help = $crate::plan::error::suggest(
                            other, "accepted", Self::WORDS.iter().copied());
                        reader.error_with(span, format!("`{other}` is no {}", $what), help);
                        None
                    }
                }
            }
        }
    };
}

pub(crate) use {one_of, table, words};
