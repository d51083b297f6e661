// Checks proofs with @confio/ics23, the public verifier: nothing of Huzhu's is used here.
//
// stdin:  {"spec": ProofSpec in protobuf's JSON, "cases": [{"root", "key", "value", "proof"} in hex, ...]}
// stdout: {"version", "accepted": [bool, ...], "flips": [number, ...], "refused": [...], "equal": [...], "same": [...]}
//
// Of each case every 13th bit of root, key, value and proof is flipped alone; each must be refused. Protobuf has more
// than one encoding of a message: a flip in the proof's framing that still decodes to the *same message* is "equal".
"use strict";

const path = require("path");
const { createRequire } = require("module");

const place = createRequire(path.join(process.cwd(), "package.json"));
const { ics23, verifyMembership } = place("@confio/ics23");
const STRIDE = 13;

function bytes(hex) {
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

function accepts(spec, proof, root, key, value) {
  try {
    return verifyMembership(ics23.CommitmentProof.decode(proof), spec, root, key, value);
  } catch (error) {
    return false;
  }
}

function canonical(proof) {
  return Buffer.from(ics23.CommitmentProof.encode(ics23.CommitmentProof.decode(proof)).finish());
}

function flips(spec, parts) {
  let made = 0;
  let refused = 0;
  let equal = 0;
  for (const name of ["proof", "root", "key", "value"]) {
    for (let bit = 0; bit < parts[name].length * 8; bit += STRIDE) {
      const changed = Uint8Array.from(parts[name]);
      changed[bit >> 3] ^= 1 << (bit & 7);
      const all = { ...parts, [name]: changed };
      made += 1;
      if (!accepts(spec, all.proof, all.root, all.key, all.value)) {
        refused += 1;
      } else if (name === "proof" && canonical(changed).equals(Buffer.from(parts.proof))) {
        equal += 1;
      }
    }
  }
  return [made, refused, equal];
}

function main(input) {
  const { spec: data, cases } = JSON.parse(input);
  const spec = ics23.ProofSpec.fromObject(data);
  const version = place("@confio/ics23/package.json").version;
  const answer = { version, accepted: [], flips: [], refused: [], equal: [], same: [] };
  for (const item of cases) {
    const parts = Object.fromEntries(Object.entries(item).map(([name, hex]) => [name, bytes(hex)]));
    answer.accepted.push(accepts(spec, parts.proof, parts.root, parts.key, parts.value));
    answer.same.push(canonical(parts.proof).equals(Buffer.from(parts.proof)));
    const [made, refused, equal] = flips(spec, parts);
    answer.flips.push(made);
    answer.refused.push(refused);
    answer.equal.push(equal);
  }
  process.stdout.write(JSON.stringify(answer));
}

const chunks = [];
process.stdin.on("data", (chunk) => chunks.push(chunk));
process.stdin.on("end", () => main(Buffer.concat(chunks).toString()));
