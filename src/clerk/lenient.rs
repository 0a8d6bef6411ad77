//! Reading JSON objects whose sender adds and leaves out members as it likes.
//!
//! Clerk's live payloads, its specification and its "Send Example" bodies disagree about which members
//! exist. An object declared with `lenient!` ignores unknown members, takes a missing or `null`
//! optional member as its default, insists on the required ones, and lets the last of a repeated
//! member win, as a browser's parser does (serde's own derive refuses repetition). Text is borrowed
//! from the input where it holds no escapes. Pure.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

/// A JSON string, borrowed when it needed no unescaping. Debug shows only its length, since it may
/// be anything a person typed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Characters;
        impl<'de> Visitor<'de> for Characters {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_str(Characters)
    }
}

/// A whole number of milliseconds (or, in some examples, seconds) since the epoch. Written with or
/// without a fraction of zero, since Convex prints every number as a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub i64);

impl Millis {
    /// Convex keeps every number as a double: beyond 2^53 two versions would become one.
    pub const MAX: i64 = 1 << 53;
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Millis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number below 2^53")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Millis, E> {
                if (-Millis::MAX..=Millis::MAX).contains(&value) {
                    Ok(Millis(value))
                } else {
                    Err(E::invalid_value(Unexpected::Signed(value), &self))
                }
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Millis, E> {
                match i64::try_from(value) {
                    Ok(signed) => self.visit_i64(signed),
                    Err(_) => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Millis, E> {
                if value.fract() == 0.0 && value.abs() <= Millis::MAX as f64 {
                    Ok(Millis(value as i64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A member of free-form metadata that ought to be a string but may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Loose<'a> {
    /// Missing or `null`.
    #[default]
    Absent,
    /// A string.
    Text(Text<'a>),
    /// Something that is not a string.
    Other,
}

impl<'a> Loose<'a> {
    /// The string, unless it is empty.
    pub fn text(&self) -> Option<&str> {
        match self {
            Loose::Text(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Loose<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Loose<'de>, E> {
                Ok(Loose::Text(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
                Ok(Loose::Absent)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Loose<'de>, E> {
                Ok(Loose::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Loose<'de>, E> {
                Ok(Loose::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Loose<'de>, E> {
                Ok(Loose::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Loose<'de>, E> {
                Ok(Loose::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose<'de>, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// Declares a struct and how it is read from a JSON object. Each member names its JSON key, whether
/// it is required (`req`) or may be missing or `null` (`opt`, then its default), its field and type.
macro_rules! lenient {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$lt:lifetime> {
        $( $(#[$field_meta:meta])* $json:literal => $mode:ident $field:ident : $ty:ty ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone)]
        $vis struct $name<$lt> { $( $(#[$field_meta])* pub $field: $ty, )* }

        // Members may be personal, so Debug says only which object this is.
        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl<$lt> serde::Deserialize<$lt> for $name<$lt> {
            fn deserialize<D: serde::Deserializer<$lt>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members<$lt>(std::marker::PhantomData<&$lt ()>);
                impl<$lt> serde::de::Visitor<$lt> for Members<$lt> {
                    type Value = $name<$lt>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<$lt>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        $( let mut $field: Option<$ty> = None; )*
                        while let Some(member) = map.next_key::<$crate::clerk::lenient::Text<$lt>>()? {
                            match member.as_str() {
                                $( $json => $field = Some(lenient!(@read $mode map $ty)), )*
                                _ => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok($name { $( $field: lenient!(@end $mode $field $json), )* })
                    }
                }
                deserializer.deserialize_map(Members(std::marker::PhantomData))
            }
        }
    };
    (@read req $map:ident $ty:ty) => { $map.next_value::<$ty>()? };
    (@read opt $map:ident $ty:ty) => { $map.next_value::<Option<$ty>>()?.unwrap_or_default() };
    (@end req $field:ident $json:literal) => {
        $field.ok_or_else(|| <A::Error as serde::de::Error>::missing_field($json))?
    };
    (@end opt $field:ident $json:literal) => { $field.unwrap_or_default() };
}
pub(crate) use lenient;
