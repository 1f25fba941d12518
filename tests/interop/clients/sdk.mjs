// The AWS SDK for JavaScript against a server whose URL is the first argument; prints one JSON object.
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";

const require = createRequire(pathToFileURL(process.argv[3] + "/"));
const kmsModule = require("@aws-sdk/client-kms");
const { KMSClient, CreateKeyCommand, EncryptCommand, DecryptCommand, SignCommand, VerifyCommand } = kmsModule;
const { GenerateDataKeyCommand, GetPublicKeyCommand, paginateListKeys } = kmsModule;

const kms = new KMSClient({ endpoint: process.argv[2], maxAttempts: 1 });
const told = {};

const { KeyMetadata: key } = await kms.send(new CreateKeyCommand({ Description: "from JavaScript" }));
told.creationDateIsDate = key.CreationDate instanceof Date;
const context = { purpose: "test" };
const sealed = await kms.send(
  new EncryptCommand({ KeyId: key.KeyId, Plaintext: Buffer.from("grüße"), EncryptionContext: context }),
);
const opened = await kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: context }));
told.plaintext = Buffer.from(opened.Plaintext).toString();
try {
  await kms.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: { purpose: "other" } }));
} catch (error) {
  told.refusal = [error.name, error.$metadata.httpStatusCode, error instanceof kmsModule.InvalidCiphertextException];
}
const dataKey = await kms.send(new GenerateDataKeyCommand({ KeyId: key.KeyId, KeySpec: "AES_256" }));
told.dataKeyBytes = dataKey.Plaintext.length;

const { KeyMetadata: signer } = await kms.send(
  new CreateKeyCommand({ KeySpec: "ECC_NIST_P256", KeyUsage: "SIGN_VERIFY" }),
);
const message = { KeyId: signer.KeyId, Message: Buffer.from("message"), SigningAlgorithm: "ECDSA_SHA_256" };
const { Signature } = await kms.send(new SignCommand(message));
told.valid = (await kms.send(new VerifyCommand({ ...message, Signature }))).SignatureValid;
const { PublicKey } = await kms.send(new GetPublicKeyCommand({ KeyId: signer.KeyId }));
const { createPublicKey, verify } = await import("node:crypto");
const publicKey = createPublicKey({ key: Buffer.from(PublicKey), format: "der", type: "spki" });
told.validForNode = verify("sha256", Buffer.from("message"), publicKey, Buffer.from(Signature));

const listed = [];
for await (const page of paginateListKeys({ client: kms, pageSize: 1 }, {})) listed.push(...page.Keys);
told.listsBoth = [key, signer].every(({ KeyId }) => listed.some((entry) => entry.KeyId === KeyId));
console.log(JSON.stringify(told));
