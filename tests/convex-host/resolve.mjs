// Where the host finds its packages: in the node_modules of the project that it serves.
//
// The functions and the host must share one copy of `convex` and `convex-test`, or an error thrown by
// one would not be known to the other. So bare names are looked up from the served project.

let project;

export async function initialize(data) {
  project = data.project;
}

export async function resolve(specifier, context, next) {
  const bare = !/^(?:[./]|[a-z]+:)/.test(specifier);
  const own = context.parentURL?.startsWith(new URL(".", import.meta.url).href);
  return next(specifier, bare && own ? { ...context, parentURL: project } : context);
}
