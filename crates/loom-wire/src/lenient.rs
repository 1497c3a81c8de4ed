//! Field types that take what servers write: `null`, `""`, missing, int or string, object or string, string or parts.
//!
//! A form that has one meaning is bridged; a form that has none (an object as a text) is an error, never skipped.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Declares a struct that reads its named keys leniently: unknown keys are skipped unread, `null` is the default,
/// and of a repeated key the last wins.
macro_rules! lenient_struct {
    ($(#[$meta:meta])* pub struct $name:ident $(<$life:lifetime>)? {
        $($(#[$doc:meta])* pub $field:ident: $type:ty = $key:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name<$($life)?> {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl<$($life)?> $crate::lenient::Form for $name<$($life)?> {
            const OBJECT: bool = true;
        }

        impl<'de, $($life)?> serde::Deserialize<'de> for $name<$($life)?> $(where 'de: $life)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields<T>(std::marker::PhantomData<T>);
                impl<'de, $($life)?> serde::de::Visitor<'de> for Fields<$name<$($life)?>>
                $(where 'de: $life)?
                {
                    type Value = $name<$($life)?>;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($name), ")"))
                    }
                    fn visit_unit<E>(self) -> Result<Self::Value, E> {
                        Ok(Self::Value::default())
                    }
                    /// PHP writes an empty object as `[]`.
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                        match items.next_element::<serde::de::IgnoredAny>()? {
                            None => Ok(Self::Value::default()),
                            Some(_) => Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
                        }
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut value = Self::Value::default();
                        while let Some(key) = map.next_key::<$crate::lenient::Text<'de>>()? {
                            match key.as_str() {
                                $($key => value.$field = map.next_value()?,)*
                                _ => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok(value)
                    }
                }
                deserializer.deserialize_any(Fields(std::marker::PhantomData::<Self>))
            }
        }
    };
}
pub(crate) use lenient_struct;

/// Text; `null` is `""`, a number or a boolean is its text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, unless it is empty: `""`, `null` and a missing key mean the same.
    pub fn filled(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(value.to_string())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(value.to_string())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(value.to_string())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(value.to_string())))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A name that nothing depends on, such as an answer's id: what is no text is none.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Label<'a>(pub Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Label<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Aside::<Text<'de>>::deserialize(deserializer).map(|text| Self(text.value.unwrap_or_default()))
    }
}

/// Something beside the answer: what cannot be read as `T` is known to be odd, and loses nothing else.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Aside<T> {
    /// What was read.
    pub value: Option<T>,
    /// Something was there that has another form.
    pub odd: bool,
}

/// What [`Aside`] can hold: an object or a text.
pub trait Form {
    /// It is read from an object; else from text, numbers and the like.
    const OBJECT: bool;
}

impl Form for Text<'_> {
    const OBJECT: bool = false;
}

impl<'de, T: Deserialize<'de> + Form> Deserialize<'de> for Aside<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsideVisitor<T>(std::marker::PhantomData<T>);
        impl<T: Form> AsideVisitor<T> {
            fn odd() -> Aside<T> {
                Aside { value: None, odd: true }
            }
            fn scalar<'de, E: de::Error>(value: impl de::IntoDeserializer<'de, E>) -> Result<Aside<T>, E>
            where
                T: Deserialize<'de>,
            {
                if T::OBJECT {
                    return Ok(Self::odd());
                }
                T::deserialize(value.into_deserializer())
                    .map(|value| Aside { value: Some(value), odd: false })
            }
        }
        impl<'de, T: Deserialize<'de> + Form> Visitor<'de> for AsideVisitor<T> {
            type Value = Aside<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Aside { value: None, odd: false })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                if T::OBJECT {
                    let value = T::deserialize(de::value::MapAccessDeserializer::new(map))?;
                    return Ok(Aside { value: Some(value), odd: false });
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Self::odd())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Self::odd())
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Self::scalar(de::value::BorrowedStrDeserializer::new(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Self::scalar(text.to_owned())
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Self::scalar(value)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Self::scalar(value)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Self::scalar(value)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                Self::scalar(value)
            }
        }
        deserializer.deserialize_any(AsideVisitor(std::marker::PhantomData))
    }
}

/// A finish reason, which keeps apart "never said" and "said nothing".
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Missing or `null`.
    #[default]
    Absent,
    /// `""`: Snowflake and old SGLang write it on every chunk.
    Empty,
    /// A word.
    Given(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Reason<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<Text<'de>>::deserialize(deserializer)? {
            None => Self::Absent,
            // The word is `""` written by a template that knows no null.
            Some(text)
                if text.0.is_empty() || ["null", "none"].iter().any(|it| text.0.eq_ignore_ascii_case(it)) =>
            {
                Self::Empty
            }
            Some(text) => Self::Given(text.0),
        })
    }
}

/// A whole number; one written as a float or as text counts, anything else is unknown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Int {
    /// The number.
    pub value: Option<i64>,
    /// Something was there that is no whole number.
    pub odd: bool,
}

impl Int {
    /// The number if it can be a count.
    pub fn count(self) -> Option<u64> {
        self.value.and_then(|value| u64::try_from(value).ok())
    }

    /// Whether something was written that cannot be a count.
    pub fn is_no_count(self) -> bool {
        self.odd || self.value.is_some_and(i64::is_negative)
    }

    const ODD: Self = Self { value: None, odd: true };

    fn from_float(value: f64) -> Self {
        // The bound keeps the conversion exact.
        if value.fract() == 0.0 && value.abs() < 9e15 {
            #[allow(clippy::cast_possible_truncation)]
            return Self { value: Some(value as i64), odd: false };
        }
        Self::ODD
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntVisitor;
        impl<'de> Visitor<'de> for IntVisitor {
            type Value = Int;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_u64<E>(self, value: u64) -> Result<Int, E> {
                Ok(i64::try_from(value).map_or(Int::ODD, |value| Int { value: Some(value), odd: false }))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Int, E> {
                Ok(Int { value: Some(value), odd: false })
            }
            fn visit_f64<E>(self, value: f64) -> Result<Int, E> {
                Ok(Int::from_float(value))
            }
            fn visit_unit<E>(self) -> Result<Int, E> {
                Ok(Int::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Int, E> {
                Ok(Int::ODD)
            }
            fn visit_str<E>(self, text: &str) -> Result<Int, E> {
                Ok(match text.trim() {
                    "" => Int::default(),
                    text => text.parse().map_or(Int::ODD, Int::from_float),
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Int, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Int::ODD)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Int, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Int::ODD)
            }
        }
        deserializer.deserialize_any(IntVisitor)
    }
}

/// What a message says: a text, or parts of which some are thinking.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said<'a> {
    /// The answer.
    pub text: Text<'a>,
    /// What stands in thinking parts (Mistral's magistral).
    pub thinking: Text<'a>,
    /// What stands in refusal parts (OpenAI).
    pub refusal: String,
    /// There were parts that say nothing or are no parts.
    pub odd_parts: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SaidVisitor;
        impl<'de> Visitor<'de> for SaidVisitor {
            type Value = Said<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or content parts")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Said { text: Text(Cow::Borrowed(text)), ..Said::default() })
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Said { text: Text(Cow::Owned(text.to_owned())), ..Said::default() })
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Said::default())
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(said_by(&[value.into()]))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(said_by(&[value.into()]))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(said_by(&[value.into()]))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(said_by(&[value.into()]))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let part = Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(said_by(&[part]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element::<Value>()? {
                    parts.push(part);
                }
                Ok(said_by(&parts))
            }
        }
        deserializer.deserialize_any(SaidVisitor)
    }
}

/// Parts are rare, so they go through `Value`: `{"type":"text","text"}`, `{"type":"thinking","thinking"}`, bare texts.
/// An object that is no part is the JSON that was asked for; a bare number or boolean is its text.
fn said_by(parts: &[Value]) -> Said<'static> {
    let (mut text, mut thinking, mut refusal, mut odd_parts) =
        (String::new(), String::new(), String::new(), false);
    for part in parts {
        match part.get("type").and_then(Value::as_str) {
            Some("thinking" | "reasoning" | "reasoning_text" | "reasoning.text") => {
                for key in ["thinking", "text", "reasoning", "content"] {
                    match part.get(key) {
                        Some(Value::String(inner)) => thinking.push_str(inner),
                        Some(Value::Array(inner)) => {
                            for piece in inner {
                                thinking.push_str(text_of_part(piece).unwrap_or_default());
                            }
                        }
                        _ => continue,
                    }
                    break;
                }
            }
            // A list within the list.
            None if part.is_array() => {
                let inner = said_by(part.as_array().map_or(&[], Vec::as_slice));
                odd_parts = true;
                text.push_str(inner.text.as_str());
                thinking.push_str(inner.thinking.as_str());
                refusal.push_str(&inner.refusal);
            }
            Some("refusal") => {
                refusal.push_str(part.get("refusal").and_then(Value::as_str).unwrap_or_default());
            }
            kind => match (text_of_part(part), part) {
                (Some(said), _) => text.push_str(said),
                (None, Value::Null) => {}
                (None, Value::Number(_) | Value::Bool(_)) => {
                    odd_parts = true;
                    text.push_str(&part.to_string());
                }
                (None, Value::Object(fields)) if kind.is_none() && !fields.is_empty() => {
                    odd_parts = true;
                    text.push_str(&part.to_string());
                }
                // A part of another type (Mistral's references) is skipped like any unknown field.
                _ => odd_parts |= kind.is_none(),
            },
        }
    }
    Said { text: Text(Cow::Owned(text)), thinking: Text(Cow::Owned(thinking)), refusal, odd_parts }
}

/// The text of a part; none if it is not one that holds text.
fn text_of_part(part: &Value) -> Option<&str> {
    match part.get("text") {
        Some(Value::Null) => Some(""),
        // As in OpenAI's Assistants: `{"type":"text","text":{"value":"Hi","annotations":[]}}`.
        Some(Value::Object(fields)) => fields.get("value")?.as_str(),
        Some(text) => text.as_str(),
        None => part.as_str(),
    }
}

/// Tool call arguments: a text, or the object itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Arguments<'a> {
    /// Missing or `null`.
    #[default]
    Absent,
    /// A piece of JSON text.
    Text(Cow<'a, str>),
    /// Not a text but the value itself, complete.
    Json(String),
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgumentsVisitor;
        impl<'de> Visitor<'de> for ArgumentsVisitor {
            type Value = Arguments<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Arguments::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Arguments::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Arguments::Absent)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Arguments::Json(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Arguments::Json(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Arguments::Json(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Arguments::Json(value.to_string()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let value = Value::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Arguments::Json(value.to_string()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let value = Value::deserialize(de::value::SeqAccessDeserializer::new(seq))?;
                Ok(Arguments::Json(value.to_string()))
            }
        }
        deserializer.deserialize_any(ArgumentsVisitor)
    }
}
