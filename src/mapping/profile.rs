//! A Clerk user as a row of `profiles`: first name, last name, phone number.
//!
//! The row travels with the user's own, under the same key and version. `userId`, the reference to the
//! row of `users`, is set by Convex, which alone knows it.

use super::{MapError, Mapped, plain, sized, user::nullable};
use crate::{
    clerk::wire::User,
    model::{Fields, Table},
};

/// Maps a user's profile.
pub fn profile(user: &User<'_>) -> Result<Mapped, MapError> {
    let wanted = user.primary_phone_number_id.as_ref();
    let primary = user
        .phone_numbers
        .iter()
        .find(|number| wanted.is_some() && number.id.as_ref() == wanted);
    let number = primary
        .or(user.phone_numbers.first())
        .and_then(|number| number.phone_number.as_ref());
    let mut fields = Fields::new();
    fields.insert("firstName".into(), nullable(user.first_name.as_ref()));
    fields.insert("lastName".into(), nullable(user.last_name.as_ref()));
    fields.insert("phoneNumber".into(), nullable(number));
    let row = plain(
        Table::Profiles,
        user.key.clone(),
        user.created_at,
        user.updated_at,
        fields,
    );
    sized(row, Vec::new())
}
