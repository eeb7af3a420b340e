/* The bell of a mailbox: one descriptor that becomes readable when it is rung, so any loop can watch it and any thread,
 * with or without the GIL, can ring it. A seam: the explorer has its own. */
#ifndef LOTS_BELL_H
#define LOTS_BELL_H

#ifdef LOTS_MODEL
typedef struct { int rings; } bell;
#else
typedef struct { int read_fd, write_fd; } bell; /* the same one twice for an eventfd */
#endif

int bell_open(bell *b); /* 0, or -1 with errno */
void bell_ring(bell *b);
int bell_clear(bell *b); /* 1 if it had been rung */
void bell_close(bell *b);
int bell_fd(const bell *b);

#endif
