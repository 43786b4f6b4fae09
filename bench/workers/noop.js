// Judges nothing: what a worker costs before it does anything.
import { pass } from "./answer.js";

export default {
  fetch(request, env) {
    return pass(request, env);
  },
};
