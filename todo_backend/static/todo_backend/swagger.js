"use strict";

// The introduction names the address of `make run`. A reader of this page needs the address of this server.
const OwnAddress = {
  statePlugins: {
    spec: {
      wrapActions: {
        updateSpec: (updateSpec) => (text) => updateSpec(text.replaceAll("http://localhost:8000", location.origin)),
      },
    },
  },
};

SwaggerUIBundle({
  url: "/api/schema",
  dom_id: "#swagger-ui",
  plugins: [OwnAddress],
  deepLinking: true,
  // Keeps the token in localStorage, so that it survives a reload. Every script of this origin can read it there.
  // *Logout* in the dialog *Authorize* removes it.
  persistAuthorization: true,
  // Shows the fields of a task, and those of the tasks in a list, without a click.
  defaultModelRendering: "model",
  defaultModelExpandDepth: 3,
  // Leaves out the list of all schemas, because each operation shows its own.
  defaultModelsExpandDepth: -1,
});
