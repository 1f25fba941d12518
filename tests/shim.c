/* A PKCS#11 module that does what it is told to do wrong, in front of a real one. Built and steered by tests/shim.py.
 *
 * Every call of the function list is counted in memory that the test shares (SHIM_CONTROL) and goes on to the real
 * module (SHIM_MODULE), unless the test says otherwise. All parameters of PKCS#11 functions fit into registers or eight
 * byte stack slots, so one forwarding function with eight of them serves all: extra ones are ignored by the callee.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word);

enum { FUNCTIONS = 68, PROCESSES = 64 };
enum { INITIALIZE = 0, OPEN_SESSION = 12, CLOSE_SESSION = 13, CLOSE_ALL = 14, LOGIN = 18, ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33 };
enum { NOTHING, FAIL, FAIL_AFTER, HANG, CRASH, GONE };
enum { PIN_INCORRECT = 0xA0, PIN_LOCKED = 0xA4, SESSION_COUNT = 0xB1, OTHER_USER = 0x104, PARAMETER_INVALID = 0x71 };

struct control {
  int64_t calls;        /* of all processes, since the test set it to 0 */
  int64_t at;           /* the effect strikes this call; -1: the next one of `only` */
  int64_t effect;
  int64_t code;         /* what FAIL, FAIL_AFTER and GONE answer */
  int64_t only;         /* index of the one function that is struck, or -1 */
  int64_t struck;       /* how often an effect struck */
  int64_t logins;       /* calls of C_Login */
  int64_t wrong_pins;
  int64_t wrong_pins_allowed;
  int64_t sessions_allowed;
  int64_t other_user;   /* another user is logged in */
  int64_t writes_iv;    /* C_EncryptInit makes the IV itself */
  int64_t gcm_length;   /* the one length of CK_GCM_PARAMS that is taken, or 0 */
  int64_t iv_bits;      /* ulIvBits of the last call */
  int64_t encrypt_us;   /* how long C_Encrypt takes longer, as a device behind a network does */
  struct { int64_t pid, sessions; } processes[PROCESSES];
};

struct gcm { void *iv; word iv_length, iv_bits; void *aad; word aad_length, tag_bits; };
struct old_gcm { void *iv; word iv_length; void *aad; word aad_length, tag_bits; };
struct mechanism { word type; void *parameter; word length; };
struct list { unsigned char version[8]; function functions[FUNCTIONS]; };

static struct control *control;
static struct list *real, ours;

static int64_t *own_sessions(void) {
  int64_t pid = getpid();
  for (int i = 0; i < PROCESSES; i++)
    if (control->processes[i].pid == pid) return &control->processes[i].sessions;
  for (int i = 0; i < PROCESSES; i++) {
    int64_t old = control->processes[i].pid;
    if (old == 0 || kill((pid_t)old, 0) != 0) {
      if (__sync_bool_compare_and_swap(&control->processes[i].pid, old, pid)) {
        control->processes[i].sessions = 0;
        return &control->processes[i].sessions;
      }
    }
  }
  abort();
}

static int64_t all_sessions(void) {
  int64_t sum = 0;
  for (int i = 0; i < PROCESSES; i++)
    if (control->processes[i].pid && kill((pid_t)control->processes[i].pid, 0) == 0) sum += control->processes[i].sessions;
  return sum;
}

static word gcm_init(int index, word session, struct mechanism *given, word key) {
  struct gcm whole;
  struct mechanism passed = *given;
  if (control->gcm_length && given->length != (word)control->gcm_length) return PARAMETER_INVALID;
  if (given->length == sizeof(struct old_gcm)) {
    struct old_gcm *old = given->parameter;
    whole = (struct gcm){old->iv, old->iv_length, old->iv_length * 8, old->aad, old->aad_length, old->tag_bits};
    control->iv_bits = -1;
  } else {
    whole = *(struct gcm *)given->parameter;
    control->iv_bits = (int64_t)whole.iv_bits;
    whole.iv_bits = whole.iv_length * 8;
  }
  if (control->writes_iv && index == ENCRYPT_INIT && getrandom(whole.iv, whole.iv_length, 0) < 0) abort();
  passed.parameter = &whole;
  passed.length = sizeof whole;
  return real->functions[index](session, (word)&passed, key, 0, 0, 0, 0, 0);
}

static word forward(int index, word a, word b, word c, word d, word e, word f, word g, word h) {
  if (index == LOGIN) {
    control->logins++;
    if (control->other_user) return OTHER_USER;
    if (control->wrong_pins_allowed && control->wrong_pins >= control->wrong_pins_allowed) return PIN_LOCKED;
  }
  if (index == OPEN_SESSION && control->sessions_allowed && all_sessions() >= control->sessions_allowed) return SESSION_COUNT;
  if (index == ENCRYPT && control->encrypt_us) usleep((useconds_t)control->encrypt_us);
  word answer;
  if ((index == ENCRYPT_INIT || index == DECRYPT_INIT) && ((struct mechanism *)b)->type == 0x1087)
    answer = gcm_init(index, a, (struct mechanism *)b, c);
  else
    answer = real->functions[index](a, b, c, d, e, f, g, h);
  if (index == LOGIN && answer == PIN_INCORRECT) control->wrong_pins++;
  if (index == OPEN_SESSION && answer == 0) ++*own_sessions();
  if (index == CLOSE_SESSION && answer == 0) --*own_sessions();
  if (index == CLOSE_ALL && answer == 0) *own_sessions() = 0;
  return answer;
}

static word call(int index, word a, word b, word c, word d, word e, word f, word g, word h) {
  int64_t number = __sync_fetch_and_add(&control->calls, 1);
  int64_t effect = control->effect;
  if (effect == GONE) return (word)control->code;
  int strikes = effect != NOTHING && (control->at < 0 ? index == control->only : number == control->at);
  if (strikes && control->at < 0) control->effect = NOTHING;
  if (!strikes) return forward(index, a, b, c, d, e, f, g, h);
  __sync_fetch_and_add(&control->struck, 1);
  switch (effect) {
    case HANG: for (;;) pause();
    case CRASH: raise(SIGSEGV); abort();
    case FAIL_AFTER: forward(index, a, b, c, d, e, f, g, h); return (word)control->code;
    default: return (word)control->code;
  }
}

#define HOOK(n) static word hook_##n(word a, word b, word c, word d, word e, word f, word g, word h) { return call(n, a, b, c, d, e, f, g, h); }
#define TEN(m, t) m(t##0) m(t##1) m(t##2) m(t##3) m(t##4) m(t##5) m(t##6) m(t##7) m(t##8) m(t##9)
#define ALL(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) TEN(m, 1) TEN(m, 2) TEN(m, 3) TEN(m, 4) TEN(m, 5) \
  m(60) m(61) m(62) m(63) m(64) m(65) m(66) m(67)
ALL(HOOK)
#define NAME(n) hook_##n,

word C_GetFunctionList(struct list **list) {
  static const function hooks[FUNCTIONS] = {ALL(NAME)};
  if (!control) {
    int file = open(getenv("SHIM_CONTROL"), O_RDWR);
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW | RTLD_LOCAL);
    word (*get)(struct list **) = module ? (word(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
    if (file < 0 || shared == MAP_FAILED || !get || get(&real)) abort();
    close(file);
    control = shared;
    memcpy(ours.version, real->version, sizeof ours.version);
    memcpy(ours.functions, hooks, sizeof hooks);
  }
  *list = &ours;
  return 0;
}
