/* SPDX-License-Identifier: MIT */
/*
 * play.h - the player: makes the operations of a script on its own address space, asks a
 * side (Linux's notifiers, or hmmu) to subscribe, begin and retry, and logs what that side
 * was told. oracle/README.md has the language and the log.
 *
 * Each script is played in a process of its own. Between opening the side and the end of
 * the script nothing here allocates: the break belongs to the script.
 *
 *	main.c		options; a process per script
 *	script.c	lines, words; the loop over the operations
 *	region.c	addresses: by name, and back
 *	memory.c	operations that make memory
 *	change.c	operations that change it
 *	protocol.c	subscriptions, slots; what is done while a callback is held
 *	log.c		the log
 *	side_kernel.c, side_hmmu.c, replay.c	the sides
 */
#ifndef ORACLE_PLAY_H
#define ORACLE_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096UL
#define WINDOW 4096UL /* pages of a region */
#define SUBS 26
#define WORDS 24

/* One line of a script, in words. */
struct line {
	unsigned int nr; /* of the operation, from 1 */
	bool held;	 /* began with '|': while a callback is held */
	int n;
	char *word[WORDS + 1];
	char text[160];
};

/* What an operation answers: 0 or -errno, or an address, or a text of its own. */
struct answer {
	long ret;
	bool address;
	const char *text;
};

struct operation {
	const char *name;
	int words; /* the least */
	void (*run)(const struct line *line, struct answer *answer);
};
extern const struct operation memory_operations[], change_operations[], protocol_operations[];

/* The sides. All of them answer 0 or -errno. */
struct side {
	/* Before the fork, in the parent: what outlives the script's process. */
	long (*prepare)(void);
	/* In the script's process. */
	long (*open)(void);
	long (*insert)(unsigned int id, unsigned long start, unsigned long length);
	long (*remove)(unsigned int id);
	long (*begin)(unsigned int id, unsigned long *seq);
	long (*retry)(unsigned int id, unsigned long seq); /* 0 or 1 */
	/* Makes the operation; the replay's changes are made here. */
	void (*perform)(const struct operation *op, const struct line *line,
			struct answer *answer);
	/* Waits until all that the operation has caused is told. */
	void (*quiet)(void);
	/* The same, and logs it. */
	void (*settle)(void);
	/* Would begin wait? 0 or 1. While a callback is held. */
	long (*poll)(unsigned int id);
	/* The next call of @id waits in its callback; held: until one does, or *over. */
	void (*hold)(unsigned int id);
	bool (*held)(const uint32_t *over);
	void (*release)(void);
	/* In the parent, when the script's process is gone. */
	void (*after)(void);
};
extern const struct side side;

/* Set by main.c. */
extern bool play_raw;		/* system calls without libc */
extern const char *play_source; /* of hmmu's side */
extern const char *play_replay; /* a log whose changes are replayed */
extern const char *play_script; /* its name */

/* script.c: 0, or -EINVAL after complaining. run never sees an error: it is a result. */
int script_load(const char *path);
void script_play(void);
const struct operation *operation_find(const struct line *line);
_Noreturn void script_bad(const struct line *line, const char *what);

/* region.c */
void regions_init(void);
/* "w+3", "b+0", "w+3:17": an address; a length: "4", "4:1". */
unsigned long address_of(const struct line *line, int word);
unsigned long length_of(const struct line *line, int word);
/* "w+3", or "away". */
void address_name(unsigned long addr, char *name, size_t n);
/* "w 1 3", "all", "else": pages of a region. */
void range_name(unsigned long start, unsigned long end, char *name, size_t n);
/* The part of [start, end) in @id's subscription: "w 1 3"; false: none. */
bool range_clip(unsigned int id, unsigned long start, unsigned long end, char *name, size_t n);
/* The replay's: what range_name() wrote. False: "else". */
bool range_of(char *name, unsigned long *start, unsigned long *end);

/* protocol.c */
struct subscribed {
	bool live;
	unsigned long start, length;
};
extern struct subscribed subscribed[SUBS];
void play_held(const struct line *first, const struct line *lines, int n);

/* log.c. Not for callbacks but log_call(). */
void log_open(const char *path);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_flush(void);
void log_prefault(void);
/* What a callback was told; written out by log_calls(). Lock-free. */
void log_call(unsigned int id, unsigned int event, unsigned long start, unsigned long end,
	      unsigned long seq, const char *note);
void log_calls(void);
const char *event_name(unsigned int event);
/* -1: unknown */
int event_of(const char *name);

#endif /* ORACLE_PLAY_H */
