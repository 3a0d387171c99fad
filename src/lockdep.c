// SPDX-License-Identifier: MIT
/* lockdep.c - see lockdep.h. Next to nothing in release builds. */
#include "lockdep.h"

#include <hmmu/mmu_notifier.h>

#include "export.h"

#ifdef HMMU_DEBUG
#include <link.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "notifier/notifier.h"
#include "report.h"
#include "tls.h"

#define HELD_MAX 16
#define EDGES_MAX 256
#define OPEN_MAX 1024
#define NAME_MAX_ 40
#define SPINS 1000000

/* ---- what is known ------------------------------------------------------- */

enum edge_kind {
	EDGE_SEEN,
	EDGE_RULE,     /* follows from the design: no stack */
	EDGE_DECLARED, /* the stack is that of the declaration */
};

struct edge {
	uint8_t from, to;
	uint8_t kind; /* enum edge_kind */
	struct hmmu_stack stack;
};

struct class_info {
	char name[NAME_MAX_];
	const void *ops; /* a driver lock's: its class */
};

/*
 * All that processes have of their own: whole pages, which a forked child finds zeroed. Words
 * are written under `lock`, one bit or one finished record at a time, and read without it.
 */
struct lockdep {
	uint32_t life; /* the process that these are of; 0: a child's, not yet used */
	uint32_t lock;
	uint32_t nclasses;
	uint32_t nedges;
	uint32_t said; /* enum said, bits */
	uint32_t deepest;
	uint32_t missed;
	uint64_t seen[HMMU_CLASSES]; /* A: bits of B; reported ones, too */
	uint64_t good[HMMU_CLASSES]; /* without those that closed a cycle */
	struct class_info class[HMMU_CLASSES];
	struct edge edge[EDGES_MAX];
	/* What is open, by the thread that is answerable for the end. */
	const void *open[OPEN_MAX];
	const void *open_by[OPEN_MAX];
} __attribute__((aligned(4096)));

static struct lockdep g;
static bool wiped; /* the kernel does that */

/* ---- what a thread holds ------------------------------------------------- */

struct held_lock {
	const void *key;
	uint8_t class;
	uint8_t flags;
};

/* Its address is the thread's name. */
struct held {
	uint32_t life; /* of g */
	uint16_t n;
	uint8_t busy;  /* in here: a signal handler that comes now is not checked */
	uint32_t open; /* no fewer than this thread has open */
	struct held_lock lock[HELD_MAX];
};
static __thread struct held held HMMU_TLS_MODEL;
/* The initial TLS of a library that is loaded later is scarce. */
_Static_assert(sizeof(struct held) <= 320, "debug builds must load by dlopen");

static const char *const known[HMMU_CLASS_KNOWN] = {
	[HMMU_CLASS_INVALIDATION] = "invalidation",
	[HMMU_CLASS_CALLBACK] = "callback",
	[HMMU_CLASS_CHANGE] = "change",
	[HMMU_CLASS_LIBC] = "inside libc",
	[HMMU_CLASS_WORK] = "deferred work",
	[HMMU_CLASS_INSTANCE] = "&inst->lock",
	[HMMU_CLASS_UFFD] = "&u->lock",
	[HMMU_CLASS_SECCOMP] = "&sup->lock",
	[HMMU_CLASS_RECLAIM] = "&mm->reclaim_lock",
	[HMMU_CLASS_MM] = "&mm->lock",
};

/* What holds without having been seen. */
static const struct {
	uint8_t from, to;
	const char *why;
} rules[] = {
	{HMMU_CLASS_INVALIDATION, HMMU_CLASS_CALLBACK, "start calls back"},
	{HMMU_CLASS_CHANGE, HMMU_CLASS_CALLBACK, "a source's start calls back"},
	{HMMU_CLASS_LIBC, HMMU_CLASS_CHANGE, "malloc and free map and unmap under their lock"},
	{HMMU_CLASS_WORK, HMMU_CLASS_CALLBACK, "a deferred work may unmap"},
	{HMMU_CLASS_WORK, HMMU_CLASS_INSTANCE, "a deferred work may open and close"},
	{HMMU_CLASS_INSTANCE, HMMU_CLASS_CHANGE, "open and close wait for changes in flight"},
	{HMMU_CLASS_INSTANCE, HMMU_CLASS_LIBC, "open creates threads"},
	{HMMU_CLASS_INSTANCE, HMMU_CLASS_SECCOMP, "as they are defined"},
	{HMMU_CLASS_INSTANCE, HMMU_CLASS_UFFD, "as they are defined"},
	{HMMU_CLASS_INSTANCE, HMMU_CLASS_MM, "as they are defined"},
	{HMMU_CLASS_UFFD, HMMU_CLASS_MM, "as they are defined"},
	{HMMU_CLASS_UFFD, HMMU_CLASS_CHANGE, "arm waits for the kernel, and it for a change"},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

static uint64_t bit(unsigned int class)
{
	return 1ULL << class;
}

static bool fake(unsigned int class)
{
	return class < HMMU_CLASS_REAL;
}

/* Nothing nests inside these. */
static bool leaf(unsigned int class)
{
	return class == HMMU_CLASS_MM || class == HMMU_CLASS_RECLAIM ||
	       class == HMMU_CLASS_SECCOMP;
}

static const char *name_of(unsigned int class)
{
	const char *name = g.class[class].name;

	return name[0] == '&' ? name + 1 : name;
}

/* ---- the tables' own lock ------------------------------------------------- */

/* A thread that has it is not interrupted by another user: handlers look at held.busy first.
 * False: its holder is gone (a fork that was not noticed). */
static bool lock_tables(void)
{
	for (int i = 0; i < SPINS; i++) {
		if (hmmu_debug_cas(&g.lock, 0, 1))
			return true;
		if (i % 64 == 63)
			hmmu_syscall6(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	}
	return false;
}

static void unlock_tables(void)
{
	hmmu_debug_store(&g.lock, 0);
}

/* With the tables' lock. */
static void put_edge(unsigned int from, unsigned int to, enum edge_kind kind,
		     const struct hmmu_stack *stack)
{
	struct edge *e = &g.edge[g.nedges];

	if (g.nedges == EDGES_MAX)
		return;
	e->from = (uint8_t)from;
	e->to = (uint8_t)to;
	e->kind = (uint8_t)kind;
	if (stack)
		e->stack = *stack;
	hmmu_debug_store(&g.nedges, g.nedges + 1);
}

/* With the tables' lock. */
static void join(unsigned int from, unsigned int to)
{
	hmmu_debug_store(&g.seen[from], g.seen[from] | bit(to));
	hmmu_debug_store(&g.good[from], g.good[from] | bit(to));
}

/* A fresh process, or a forked child's first. */
static void init(uint32_t me)
{
	if (!lock_tables())
		return;
	if (!g.life) {
		for (unsigned int i = 1; i < HMMU_CLASS_KNOWN; i++)
			strcpy(g.class[i].name, known[i]);
		g.nclasses = HMMU_CLASS_KNOWN;
		for (unsigned int i = 0; i < RULES; i++) {
			join(rules[i].from, rules[i].to);
			put_edge(rules[i].from, rules[i].to, EDGE_RULE, NULL);
		}
		hmmu_debug_store(&g.life, me);
	}
	unlock_tables();
}

static uint32_t process(void)
{
	return (uint32_t)hmmu_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

/* ---- in and out ------------------------------------------------------------ */

/* False: this signal handler has interrupted the checking. */
static bool enter(void)
{
	if (held.busy) {
		hmmu_debug_add(&g.missed, 1);
		return false;
	}
	held.busy = 1;
	hmmu_signal_fence();
	if (!hmmu_debug_load(&g.life))
		init(process());
	if (held.life != g.life) { /* a forked child has its parent's */
		held.n = 0;
		held.open = 0;
		held.life = g.life;
	}
	return true;
}

static void leave(void)
{
	hmmu_signal_fence();
	held.busy = 0;
}

/* A table is full: said once. No fault of the program's. */
enum said {
	SAID_CLASSES = 1,
	SAID_EDGES = 2,
	SAID_HELD = 4,
	SAID_OPEN = 8,
};

static void full(enum said what, const char *name, const void *subject)
{
	if (hmmu_debug_or(&g.said, what) & what)
		return;
	leave();
	hmmu_note(name, subject);
	held.busy = 1;
}

/* ---- classes ------------------------------------------------------------- */

static bool same_class(const struct class_info *c, const char *name, const void *ops)
{
	return c->ops == ops && (ops || !strncmp(c->name, name, NAME_MAX_ - 1));
}

static unsigned int find_class(const char *name, const void *ops)
{
	unsigned int n = hmmu_debug_load(&g.nclasses);

	for (unsigned int i = 1; i < n; i++)
		if (same_class(&g.class[i], name, ops))
			return i;
	return HMMU_CLASS_NONE;
}

/* With the tables' lock. */
static void name_class(struct class_info *c, const char *name, const void *ops)
{
	unsigned int drivers = 1;
	size_t n;

	for (unsigned int i = 1; i < g.nclasses; i++)
		drivers += ops && g.class[i].ops;
	strncpy(c->name, name, NAME_MAX_ - 1);
	c->ops = ops;
	n = strlen(c->name);
	if (drivers == 1)
		return;
	c->name[n] = ' ';
	c->name[n + 1] = (char)('0' + drivers / 10);
	c->name[n + 2] = (char)('0' + drivers % 10);
}

/* 0: no room, and it has been said. */
static unsigned int get_class(const char *name, const void *ops)
{
	unsigned int class = find_class(name, ops);

	if (class)
		return class;
	if (!lock_tables())
		return HMMU_CLASS_NONE;
	class = find_class(name, ops);
	if (!class && g.nclasses < HMMU_CLASSES) {
		class = g.nclasses;
		name_class(&g.class[class], name, ops);
		hmmu_debug_store(&g.nclasses, class + 1);
	}
	unlock_tables();
	if (!class)
		full(SAID_CLASSES, "lockdep-too-many-classes", ops ? ops : name);
	return class;
}

/* ---- edges --------------------------------------------------------------- */

/* A cycle that an edge would close: from its end back to its beginning. */
struct cycle {
	bool found;
	unsigned int n;
	uint8_t path[HMMU_CLASSES];
};

/* Everything that @from leads to; via: from where each was reached. */
static uint64_t reach(const uint64_t *graph, unsigned int from, uint8_t *via)
{
	uint64_t reached = bit(from), todo = reached;

	while (todo) {
		unsigned int at = (unsigned int)__builtin_ctzll(todo);
		uint64_t more = hmmu_debug_load(&graph[at]) & ~reached;

		todo &= todo - 1;
		todo |= more;
		reached |= more;
		for (; more && via; more &= more - 1)
			via[__builtin_ctzll(more)] = (uint8_t)at;
	}
	return reached;
}

/* With the tables' lock. The shortest is not looked for. */
static void find_cycle(struct cycle *c, unsigned int from, unsigned int to)
{
	uint8_t via[HMMU_CLASSES], back[HMMU_CLASSES];

	c->n = 0;
	c->found = reach(g.good, to, via) & bit(from);
	if (!c->found)
		return;
	for (unsigned int at = from; at != to; at = via[at])
		back[c->n++] = (uint8_t)at;
	back[c->n++] = (uint8_t)to;
	for (unsigned int i = 0; i < c->n; i++)
		c->path[i] = back[c->n - 1 - i];
}

/* With the tables' lock: from -> to was not known. True: it is to be reported. */
static bool learn(unsigned int from, unsigned int to, enum edge_kind kind,
		  const struct hmmu_stack *stack, struct cycle *cycle)
{
	bool before = reach(g.seen, from, NULL) & bit(to);

	find_cycle(cycle, from, to);
	if (cycle->found)
		hmmu_debug_store(&g.seen[from], g.seen[from] | bit(to));
	else
		join(from, to);
	put_edge(from, to, kind, stack);
	/* If it was possible before, it has been reported before. */
	return cycle->found && !before;
}

static const struct edge *edge_of(unsigned int from, unsigned int to)
{
	unsigned int n = hmmu_debug_load(&g.nedges);

	for (unsigned int i = 0; i < n; i++)
		if (g.edge[i].from == from && g.edge[i].to == to)
			return &g.edge[i];
	return NULL;
}

static const char *rule_of(unsigned int from, unsigned int to)
{
	for (unsigned int i = 0; i < RULES; i++)
		if (rules[i].from == from && rules[i].to == to)
			return rules[i].why;
	return "?";
}

/* Whose is it? */
static void print_class(unsigned int class)
{
	char place[HMMU_PLACE_MAX];

	if (!g.class[class].ops)
		return;
	hmmu_put_place(place, g.class[class].ops);
	hmmu_report_line(name_of(class), ": of subscriptions with ops ", place, NULL);
}

static void print_edge(unsigned int from, unsigned int to)
{
	const struct edge *e = edge_of(from, to);

	if (e && e->kind == EDGE_RULE) {
		hmmu_report_line("known:  ", name_of(from), " -> ", name_of(to), ": ",
				 rule_of(from, to), NULL);
		return;
	}
	hmmu_report_line(
		e && e->kind == EDGE_DECLARED ? "declared: " : "before: ", name_of(from),
		" -> ", name_of(to), e ? NULL : ": its stack had no room", NULL);
	if (e)
		hmmu_report_stack(&e->stack);
}

static void report_cycle(const struct cycle *c, const void *key, const struct hmmu_stack *now)
{
	unsigned int from = c->path[c->n - 1], to = c->path[0];

	if (!hmmu_report_begin("lock-order", key))
		return;
	hmmu_report_line("now:    ", name_of(from), " is held, ", name_of(to), " is waited for",
			 NULL);
	hmmu_report_stack(now);
	for (unsigned int i = 0; i + 1 < c->n; i++)
		print_edge(c->path[i], c->path[i + 1]);
	for (unsigned int i = 0; i < c->n; i++)
		print_class(c->path[i]);
	hmmu_report_end();
}

/* @from is held, @to is about to be waited for; the first time. */
static void new_edge(unsigned int from, unsigned int to, enum edge_kind kind, const void *key,
		     const void *caller)
{
	struct hmmu_stack stack;
	struct cycle cycle;
	bool report = false, no_room;

	hmmu_stack_capture(&stack, caller);
	if (!lock_tables())
		return;
	if (!(g.seen[from] & bit(to)))
		report = learn(from, to, kind, &stack, &cycle);
	no_room = g.nedges == EDGES_MAX;
	unlock_tables();
	if (no_room)
		full(SAID_EDGES, "lockdep-too-many-edges", key);
	if (!report)
		return;
	leave();
	report_cycle(&cycle, key, &stack);
	held.busy = 1;
}

/* How fake classes nest in each other is not learned: rules[]. */
static bool learned(unsigned int from, unsigned int to)
{
	return from != to && !(fake(from) && fake(to));
}

static bool has_open(void);

static void order_one(unsigned int from, unsigned int to, const void *key, const void *caller)
{
	if (learned(from, to) && !(hmmu_debug_load(&g.seen[from]) & bit(to)))
		new_edge(from, to, EDGE_SEEN, key, caller);
}

static void order(unsigned int class, const void *key, const void *caller)
{
	for (unsigned int i = 0; i < held.n; i++) {
		const struct held_lock *h = &held.lock[i];

		if (leaf(h->class)) {
			leave();
			hmmu_report("lock-inside-a-leaf", h->key);
			held.busy = 1;
			return;
		}
		if (h->key == key && h->class == class && !fake(class) && !g.class[class].ops) {
			leave();
			hmmu_report("lock-taken-twice", key);
			held.busy = 1;
			return;
		}
		order_one(h->class, class, key, caller);
	}
	if (learned(HMMU_CLASS_INVALIDATION, class) &&
	    !(hmmu_debug_load(&g.seen[HMMU_CLASS_INVALIDATION]) & bit(class)) && has_open())
		order_one(HMMU_CLASS_INVALIDATION, class, key, caller);
}

/* ---- held ---------------------------------------------------------------- */

static const struct held_lock *innermost(unsigned int class)
{
	for (unsigned int i = held.n; i > 0; i--)
		if (held.lock[i - 1].class == class)
			return &held.lock[i - 1];
	return NULL;
}

static void push(unsigned int class, const void *key, unsigned int flags)
{
	struct held_lock *h = &held.lock[held.n];
	const struct held_lock *outer = fake(class) ? innermost(class) : NULL;

	/* The same again, as callbacks nest, tells nothing: the outer one is released last. */
	if (outer && outer->flags == flags)
		return;
	if (held.n == HELD_MAX) {
		full(SAID_HELD, "lockdep-too-deep", key);
		return;
	}
	h->key = key;
	h->class = (uint8_t) class;
	h->flags = (uint8_t)flags;
	held.n++;
	if (held.n > hmmu_debug_load(&g.deepest))
		hmmu_debug_store(&g.deepest, held.n);
}

/* A callback that must not sleep takes no lock but by trylock. */
static bool may_not_sleep(void)
{
	const struct held_lock *h = innermost(HMMU_CLASS_CALLBACK);

	return h && (h->flags & HMMU_LOCKDEP_NONBLOCK);
}

static void acquire(unsigned int class, const void *key, unsigned int flags, const void *caller)
{
	if (!(flags & HMMU_LOCKDEP_TRY))
		order(class, key, caller);
	push(class, key, flags);
}

void hmmu_lockdep_acquire(unsigned int class, const void *key, unsigned int flags)
{
	if (!enter())
		return;
	acquire(class, key, flags, __builtin_return_address(0));
	leave();
}

void hmmu_lockdep_acquire_site(struct hmmu_lock_site *site, const void *key, unsigned int flags)
{
	if (!enter())
		return;
	if (hmmu_debug_load(&site->life) != g.life) {
		hmmu_debug_store(&site->class, get_class(site->text, NULL));
		hmmu_debug_store(&site->life, g.life);
	}
	if (site->class)
		acquire(hmmu_debug_load(&site->class), key, flags, __builtin_return_address(0));
	leave();
}

void hmmu_lockdep_release(const void *key)
{
	unsigned int i;

	if (!enter())
		return;
	i = held.n;
	while (i > 0 && held.lock[i - 1].key != key)
		i--;
	/* Not found: it was taken before a fork, or had no room. */
	for (; i > 0 && i < held.n; i++)
		held.lock[i - 1] = held.lock[i];
	if (i > 0)
		held.n--;
	leave();
}

void hmmu_lockdep_might(unsigned int class)
{
	if (!enter())
		return;
	order(class, NULL, __builtin_return_address(0));
	leave();
}

/* ---- invalidations that are open ----------------------------------------- */

static unsigned int first_place(const void *range)
{
	return (unsigned int)((uintptr_t)range * 0x9e3779b97f4a7c15 >> 32) % OPEN_MAX;
}

static void open_put(const void *range)
{
	unsigned int at = first_place(range);

	for (unsigned int i = 0; i < OPEN_MAX; i++, at = (at + 1) % OPEN_MAX) {
		if (hmmu_debug_load(&g.open[at]) || !hmmu_debug_cas(&g.open[at], NULL, range))
			continue;
		hmmu_debug_store(&g.open_by[at], &held);
		held.open++;
		return;
	}
	full(SAID_OPEN, "lockdep-too-many-open", range);
}

/* -1: not there. */
static int open_find(const void *range)
{
	unsigned int at = first_place(range);

	for (unsigned int i = 0; i < OPEN_MAX; i++, at = (at + 1) % OPEN_MAX)
		if (hmmu_debug_load(&g.open[at]) == range)
			return (int)at;
	return -1;
}

/* Others may have ended what this thread has started. */
static bool has_open(void)
{
	uint32_t n = 0;

	if (!held.open)
		return false;
	for (unsigned int i = 0; i < OPEN_MAX; i++)
		n += hmmu_debug_load(&g.open_by[i]) == &held;
	held.open = n;
	return n > 0;
}

void hmmu_lockdep_start(const void *range, bool blockable)
{
	const void *caller = __builtin_return_address(0);

	if (!enter())
		return;
	if (blockable && may_not_sleep()) {
		leave();
		hmmu_report("start-may-sleep-in-callback-that-may-not", range);
		held.busy = 1;
	}
	if (blockable)
		order(HMMU_CLASS_CALLBACK, range, caller);
	open_put(range);
	leave();
}

void hmmu_lockdep_give(const void *range)
{
	int at = open_find(range);

	if (at < 0)
		return;
	hmmu_debug_store(&g.open_by[at], NULL);
}

void hmmu_lockdep_end(const void *range)
{
	int at = open_find(range);

	if (at < 0)
		return;
	if (g.open_by[at] == &held && held.open)
		held.open--;
	hmmu_debug_store(&g.open_by[at], NULL);
	hmmu_debug_store(&g.open[at], NULL);
}

bool hmmu_lockdep_in_own(const void *mm, uint64_t start, uint64_t last)
{
	if (!held.open || held.life != g.life)
		return false;
	for (unsigned int i = 0; i < OPEN_MAX; i++) {
		/* This thread's: it is open, and stays so meanwhile. */
		const struct hmmu_inv *inv =
			hmmu_debug_load(&g.open_by[i]) == &held ? g.open[i] : NULL;

		if (inv && inv->mm == mm && inv->start <= last && start < inv->end)
			return true;
	}
	return false;
}

/* ---- contexts ------------------------------------------------------------- */

/* libc's code: set by the constructor. */
static uintptr_t libc_start, libc_end;

static bool in_libc(const void *pc)
{
	return (uintptr_t)pc >= libc_start && (uintptr_t)pc < libc_end;
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (!strstr(info->dlpi_name, "/libc.so.") && !strstr(info->dlpi_name, "/libc-2."))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X)) {
			libc_start = info->dlpi_addr + ph->p_vaddr;
			libc_end = libc_start + ph->p_memsz;
		}
	}
	return 1;
}

void hmmu_lockdep_libc(const void *key, const void *caller, bool from_libc)
{
	if (!enter())
		return;
	/* The innermost callback runs inside a call of libc's that may be an allocator's. */
	if ((from_libc || in_libc(caller)) && innermost(HMMU_CLASS_CALLBACK) &&
	    innermost(HMMU_CLASS_LIBC)) {
		leave();
		hmmu_report("allocation-in-callback", caller);
		held.busy = 1;
	} else if (hmmu_tls.frame && wiped && g.life != process()) {
		leave();
		hmmu_report("change-in-vfork-callback", caller);
		held.busy = 1;
	}
	acquire(HMMU_CLASS_LIBC, key, 0, __builtin_return_address(0));
	leave();
}

static const struct held_lock *driver_lock(void)
{
	for (unsigned int i = held.n; i > 0; i--)
		if (g.class[held.lock[i - 1].class].ops)
			return &held.lock[i - 1];
	return NULL;
}

static void report_under_lock(const char *name, const void *subject, unsigned int class,
			      const void *caller)
{
	struct hmmu_stack now;

	if (!hmmu_report_begin(name, subject))
		return;
	hmmu_stack_capture(&now, caller);
	hmmu_report_line("now:    ", name_of(class), " is held", NULL);
	hmmu_report_stack(&now);
	print_edge(HMMU_CLASS_CALLBACK, class);
	print_class(class);
	hmmu_report_end();
}

/* Which of the four, or -1. The costly ones last. */
static int context(unsigned int forbidden)
{
	struct hmmu_stack stack;

	if ((forbidden & HMMU_NOT_CALLBACK) && hmmu_tls.frame)
		return 0;
	if ((forbidden & HMMU_NOT_DRIVER_LOCK) && driver_lock())
		return 1;
	/* It has its parent's memory, and so its parent's tables. */
	if ((forbidden & HMMU_NOT_VFORK) && wiped && g.life != process())
		return 3;
	/* A callback that a handler's change calls is the callback's business. */
	if (!(forbidden & HMMU_NOT_SIGNAL) || hmmu_tls.frame)
		return -1;
	hmmu_stack_capture(&stack, NULL);
	return stack.signal ? 2 : -1;
}

bool hmmu_context_check(const char *const names[4], unsigned int forbidden, const void *subject)
{
	const void *caller = __builtin_return_address(0);
	int which;

	if (!enter())
		return false;
	which = context(forbidden);
	leave();
	if (which < 0)
		return false;
	if (which == 1)
		report_under_lock(names[1], subject, driver_lock()->class, caller);
	else
		hmmu_report(names[which], subject);
	return true;
}

/* ---- what drivers declare -------------------------------------------------- */

/* By definition the callback takes it: that is known before any callback has run. */
static void declare(unsigned int class, const void *sub, const void *caller)
{
	if (!(hmmu_debug_load(&g.seen[HMMU_CLASS_CALLBACK]) & bit(class)))
		new_edge(HMMU_CLASS_CALLBACK, class, EDGE_DECLARED, sub, caller);
}

void hmmu_lockdep_driver_lock(const void *sub, const void *ops, const void *caller)
{
	unsigned int class, flags;

	if (!enter())
		return;
	class = get_class("driver lock", ops);
	if (class) {
		declare(class, sub, caller);
		flags = may_not_sleep() ? HMMU_LOCKDEP_TRY : 0;
		acquire(class, sub, flags, caller);
	}
	leave();
}

static void hmmu_lockdep_named_lock(const void *lock, const char *name, bool trylock,
				    const void *caller)
{
	unsigned int class;

	if (!enter())
		return;
	class = get_class(name, NULL);
	if (class)
		acquire(class, lock, trylock ? HMMU_LOCKDEP_TRY : 0, caller);
	leave();
}

/* ---- figures, and the beginning -------------------------------------------- */

void hmmu_lockdep_stats(struct hmmu_lockdep_stats *stats)
{
	if (enter()) /* a forked child's first */
		leave();
	stats->classes = hmmu_debug_load(&g.nclasses) - 1;
	stats->edges = hmmu_debug_load(&g.nedges);
	stats->rules = RULES;
	stats->deepest = hmmu_debug_load(&g.deepest);
	stats->missed = hmmu_debug_load(&g.missed);
}

static const char *decimal(char *buf, unsigned int v)
{
	char *p = buf + 11;

	*p = '\0';
	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return p;
}

/* HMMU_DEBUG_STATS=1: a line at exit. */
__attribute__((destructor)) static void print_stats(void)
{
	struct hmmu_lockdep_stats s;
	char n[5][12];

	if (!getenv("HMMU_DEBUG_STATS"))
		return;
	hmmu_lockdep_stats(&s);
	hmmu_report_line("classes ", decimal(n[0], s.classes), ", edges ",
			 decimal(n[1], s.edges), ", of which known ", decimal(n[2], s.rules),
			 ", held at once ", decimal(n[3], s.deepest), ", missed ",
			 decimal(n[4], s.missed), NULL);
}

/* Before anybody forks. Where it is refused a child knows what its parent knew. */
__attribute__((constructor)) static void wipe_on_fork(void)
{
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
	wiped = !hmmu_syscall6(SYS_madvise, (long)&g, sizeof(g), MADV_WIPEONFORK, 0, 0, 0);
	if (!g.life)
		init(process());
	dl_iterate_phdr(find_libc, NULL);
}
#endif

HMMU_EXPORT void hmmu_debug_lock(const void *lock, const char *name, bool trylock)
{
#ifdef HMMU_DEBUG
	hmmu_lockdep_named_lock(lock, name, trylock, __builtin_return_address(0));
#else
	(void)lock;
	(void)name;
	(void)trylock;
#endif
}

HMMU_EXPORT void hmmu_debug_unlock(const void *lock)
{
	hmmu_lockdep_release(lock);
	(void)lock;
}
