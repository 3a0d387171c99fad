// SPDX-License-Identifier: MIT
/*
 * protocol.c - subscriptions (A to Z), slots (a to z: a sequence that a read began with), and
 * what is done while a callback is held:
 *
 *	main				worker
 *	hold(A)
 *					the change: start; A's callback: held
 *	the lines with '|'
 *	release
 *					the callback returns; the change; end
 *
 * The worker may hold the mmap lock meanwhile: main maps nothing, faults nothing.
 */
#define _GNU_SOURCE
#include "play.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct subscribed subscribed[SUBS];

static struct slot {
	bool used;
	unsigned int sub;
	unsigned long seq;
} slots[26];

static unsigned int letter(const struct line *line, int word, char from)
{
	const char *p = line->word[word];

	if (p[1] || p[0] < from || p[0] >= from + 26)
		script_bad(line, "a letter is expected");
	return (unsigned int)(p[0] - from);
}

/* insert SUB ADDR LEN */
static void insert(const struct line *line, struct answer *a)
{
	unsigned int id = letter(line, 1, 'A');
	unsigned long start = address_of(line, 2), length = length_of(line, 3);

	if (subscribed[id].live)
		script_bad(line, "is inserted already");
	subscribed[id].start = start;
	subscribed[id].length = length;
	a->ret = side.insert(id, start, length);
	subscribed[id].live = !a->ret;
}

/* remove SUB; its slots are forgotten */
static void do_remove(const struct line *line, struct answer *a)
{
	unsigned int id = letter(line, 1, 'A');

	if (!subscribed[id].live) {
		a->ret = -ENOENT;
		return;
	}
	for (int i = 0; i < 26; i++)
		if (slots[i].sub == id)
			slots[i].used = false;
	a->ret = side.remove(id);
	subscribed[id].live = false;
}

/* begin SLOT SUB */
static void begin(const struct line *line, struct answer *a)
{
	struct slot *s = &slots[letter(line, 1, 'a')];
	unsigned int id = letter(line, 2, 'A');

	if (!subscribed[id].live) {
		a->ret = -ENOENT;
		return;
	}
	a->ret = side.begin(id, &s->seq);
	/* Also where it is not watched: that sequence retries for ever. */
	s->used = true;
	s->sub = id;
}

/* begin-all: a slot for each subscription, of the same letter: "a:0 b:-ENODEV" */
static void begin_all(const struct line *line, struct answer *a)
{
	static char text[SUBS * 16];
	size_t n = 0;

	(void)line;
	text[0] = '\0';
	for (unsigned int i = 0; i < SUBS; i++) {
		long ret;

		if (!subscribed[i].live)
			continue;
		ret = side.begin(i, &slots[i].seq);
		slots[i].used = true;
		slots[i].sub = i;
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%c:%s%s", n ? " " : "",
				      'a' + (int)i, ret ? "-" : "",
				      ret ? strerrorname_np((int)-ret) : "0");
	}
	a->text = text;
}

/* check: each slot's retry, "a:0 b:1" */
static void check(const struct line *line, struct answer *a)
{
	static char text[26 * 4 + 1];
	size_t n = 0;

	(void)line;
	text[0] = '\0';
	for (int i = 0; i < 26; i++)
		if (slots[i].used)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%c:%ld",
					      n ? " " : "", 'a' + i,
					      side.retry(slots[i].sub, slots[i].seq));
	a->text = text;
}

/* poll SUB: would a read wait? Only while a callback is held. */
static void poll_sub(const struct line *line, struct answer *a)
{
	unsigned int id = letter(line, 1, 'A');

	if (subscribed[id].live)
		a->text = side.poll(id) ? "waits" : "ready";
	else
		a->ret = -ENOENT;
}

/* ---- while SUB OPERATION ------------------------------------------------- */

struct work {
	struct line line;
	const struct operation *op;
	struct answer answer;
	uint32_t over;
};

static void *work_main(void *arg)
{
	struct work *w = arg;

	side.perform(w->op, &w->line, &w->answer);
	side.quiet();
	__atomic_store_n(&w->over, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void held_line(const struct line *line, bool held)
{
	const struct operation *op = operation_find(line);
	struct answer a = {0};
	char result[128];

	op->run(line, &a);
	if (a.text)
		snprintf(result, sizeof(result), "%s", a.text);
	else
		snprintf(result, sizeof(result), "%ld", a.ret);
	log_line("%s %u %s = %s", held ? "held" : "late", line->nr, line->text, result);
}

void play_held(const struct line *first, const struct line *lines, int n)
{
	static struct work w;
	pthread_t thread;
	unsigned int id = letter(first, 1, 'A');
	bool held;

	memset(&w, 0, sizeof(w));
	w.line = *first;
	w.line.n -= 2;
	memmove(w.line.word, w.line.word + 2, sizeof(w.line.word) - 2 * sizeof(*w.line.word));
	w.op = operation_find(&w.line);
	side.hold(id);
	log_prefault();
	if (pthread_create(&thread, NULL, work_main, &w))
		script_bad(first, "no thread");
	held = side.held(&w.over);
	for (int i = 0; i < n; i++)
		held_line(&lines[i], held);
	side.release();
	pthread_join(thread, NULL);
	side.settle();
	log_line("= %s", w.answer.ret < 0 && w.answer.ret >= -4095
				 ? strerrorname_np((int)-w.answer.ret)
				 : "0");
}

static void play_while(const struct line *line, struct answer *a)
{
	(void)line;
	(void)a;
}

const struct operation protocol_operations[] = {
	{"insert", 3, insert},	     {"remove", 1, do_remove}, {"begin", 2, begin},
	{"begin-all", 0, begin_all}, {"check", 0, check},      {"poll", 1, poll_sub},
	{"while", 2, play_while},    {NULL, 0, NULL},
};
