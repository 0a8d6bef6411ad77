//! `users.organizationId` where metadata does not set it: derived from the memberships, and put right when it drifts.
