/* eslint-disable */
/**
 * Generated `api` utility.
 *
 * THIS CODE IS AUTOMATICALLY GENERATED.
 *
 * To regenerate, run `npx convex dev`.
 * @module
 */

import type {
  ApiFromModules,
  FilterApi,
  FunctionReference,
} from "convex/server";
import type * as clerkSync from "../clerkSync.js";
import type * as clerkSyncLib_apply from "../clerkSyncLib/apply.js";
import type * as clerkSyncLib_cascade from "../clerkSyncLib/cascade.js";
import type * as clerkSyncLib_database from "../clerkSyncLib/database.js";
import type * as clerkSyncLib_edits from "../clerkSyncLib/edits.js";
import type * as clerkSyncLib_factory from "../clerkSyncLib/factory.js";
import type * as clerkSyncLib_fits from "../clerkSyncLib/fits.js";
import type * as clerkSyncLib_hooks from "../clerkSyncLib/hooks.js";
import type * as clerkSyncLib_list from "../clerkSyncLib/list.js";
import type * as clerkSyncLib_newest from "../clerkSyncLib/newest.js";
import type * as clerkSyncLib_organization from "../clerkSyncLib/organization.js";
import type * as clerkSyncLib_refusal from "../clerkSyncLib/refusal.js";
import type * as clerkSyncLib_remove from "../clerkSyncLib/remove.js";
import type * as clerkSyncLib_rows from "../clerkSyncLib/rows.js";
import type * as clerkSyncLib_settings from "../clerkSyncLib/settings.js";
import type * as clerkSyncLib_tables from "../clerkSyncLib/tables.js";
import type * as clerkSyncLib_upsert from "../clerkSyncLib/upsert.js";
import type * as clerkSyncLib_wire from "../clerkSyncLib/wire.js";

/**
 * A utility for referencing Convex functions in your app's API.
 *
 * Usage:
 * ```js
 * const myFunctionReference = api.myModule.myFunction;
 * ```
 */
declare const fullApi: ApiFromModules<{
  clerkSync: typeof clerkSync;
  "clerkSyncLib/apply": typeof clerkSyncLib_apply;
  "clerkSyncLib/cascade": typeof clerkSyncLib_cascade;
  "clerkSyncLib/database": typeof clerkSyncLib_database;
  "clerkSyncLib/edits": typeof clerkSyncLib_edits;
  "clerkSyncLib/factory": typeof clerkSyncLib_factory;
  "clerkSyncLib/fits": typeof clerkSyncLib_fits;
  "clerkSyncLib/hooks": typeof clerkSyncLib_hooks;
  "clerkSyncLib/list": typeof clerkSyncLib_list;
  "clerkSyncLib/newest": typeof clerkSyncLib_newest;
  "clerkSyncLib/organization": typeof clerkSyncLib_organization;
  "clerkSyncLib/refusal": typeof clerkSyncLib_refusal;
  "clerkSyncLib/remove": typeof clerkSyncLib_remove;
  "clerkSyncLib/rows": typeof clerkSyncLib_rows;
  "clerkSyncLib/settings": typeof clerkSyncLib_settings;
  "clerkSyncLib/tables": typeof clerkSyncLib_tables;
  "clerkSyncLib/upsert": typeof clerkSyncLib_upsert;
  "clerkSyncLib/wire": typeof clerkSyncLib_wire;
}>;
export declare const api: FilterApi<
  typeof fullApi,
  FunctionReference<any, "public">
>;
export declare const internal: FilterApi<
  typeof fullApi,
  FunctionReference<any, "internal">
>;
