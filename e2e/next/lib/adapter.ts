import type { Task } from "./tasks";

type Todo = Omit<Task, "completed"> & { is_completed: boolean };
export const fromTask = ({ completed, ...task }: Task): Todo => ({ ...task, is_completed: completed });
export const toTask = ({ is_completed, ...todo }: Partial<Todo>) => ({ ...todo, completed: is_completed });
