// Reads an AsyncAPI document with the parser of the AsyncAPI project. Fails on errors and warnings.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const [ERROR, WARNING] = [0, 1];
const faults = diagnostics.filter(({ severity }) => severity === ERROR || severity === WARNING);
for (const { message, path } of faults) console.error(`${path.join(".")}: ${message}`);
process.exitCode = document && faults.length === 0 ? 0 : 1;
